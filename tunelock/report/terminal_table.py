"""The result table for a terminal: as wide as the window, green where tuning made it better, red where worse."""

import itertools

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelock.metrics.metric import Metric
from tunelock.metrics.registry import list_table_metrics, name_judged

SPLITS, MODELS = ("test", "golden"), ("base", "tuned")
STYLES = {"better": "green", "worse": "red", "undecided": "dim"}  # by the verdict of metrics/claims.json
NEXT = "Look next: `tunelock chat` to talk to the tuned model, `tunelock report` for charts and every row."


def print_results(console: Console, metrics: dict[str, float], claims: dict) -> None:
    """Print metrics/evaluate.json, coloured by metrics/claims.json, the claim below it, and where to look next."""
    console.print(_make_terminal_table(metrics, claims))
    style = "bold green" if claims["claim"] == "gain" else "bold"
    console.print(Text.assemble((f"\n{claims['claim'].capitalize()}: ", style), claims["claim_sentence"]))
    console.print(Text(f"\n{NEXT}", style="dim"))


def _make_terminal_table(metrics: dict[str, float], claims: dict) -> Table:
    """A row a metric; for each split base, tuned and the verdict. A row of which nothing was measured is left out."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for split in SPLITS:
        table.add_column(f"{split}: base", justify="right")
        table.add_column("tuned", justify="right")
        table.add_column("verdict")
    for metric in list_table_metrics():
        keys = {f"{split}_{metric.name}_{model}" for split, model in itertools.product(SPLITS, MODELS)}
        if keys & metrics.keys():
            table.add_row(metric.name.replace("_", " "), *_make_cells(metric, metrics, claims))
    return table


def _make_cells(metric: Metric, metrics: dict[str, float], claims: dict) -> list[Text]:
    """For each split the figures of base and of tuned, and the verdict, in its colour."""
    cells = []
    for split in SPLITS:
        entry = claims.get(f"{split}_{name_judged(metric.name)}", {})
        verdict = entry.get("verdict", "")
        style = STYLES.get(verdict, "")
        base, tuned = (_style_figure(metrics.get(f"{split}_{metric.name}_{model}"), metric.digits) for model in MODELS)
        cells += [Text(base), Text(tuned, style=style), Text(verdict, style=style)]
    return cells


def _style_figure(value: float | None, digits: int) -> str:
    """A figure, or a dash where it was not measured."""
    return "-" if value is None else f"{value:.{digits}f}"
