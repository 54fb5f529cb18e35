"""The result table, base against tuned, out of metrics/evaluate.json, and the claim below it."""

import textwrap
from itertools import product
from typing import Any

from tunelock.metrics.registry import list_table_metrics

COLUMNS = tuple(product(("test", "golden"), ("base", "tuned")))


def format_results(metrics: dict[str, float], claims: dict) -> str:
    """The result table and the claim in Markdown, from metrics/evaluate.json and metrics/claims.json.

    A figure that was not measured is a dash; a row of dashes alone is left out.
    """
    lines = ["| | test base | test tuned | golden base | golden tuned |", "|---|---|---|---|---|"]
    for metric in list_table_metrics():
        columns = [f"{split}_{metric.name}_{model}" for split, model in COLUMNS]
        cells = [f"{metrics[column]:.{metric.digits}f}" if column in metrics else "-" for column in columns]
        lines += [f"| {metric.name} | " + " | ".join(cells) + " |"] if set(cells) != {"-"} else []
    return "\n".join(lines) + "\n\n" + textwrap.fill(claims["claim_sentence"], 120, break_on_hyphens=False) + "\n"


def pick_results(metrics: dict[str, float], claims: dict) -> dict[str, Any]:
    """What the result table shows, unrounded: the claim, and each row's figures by column."""
    rows: dict[str, dict[str, float]] = {}
    for metric in list_table_metrics():
        for split, model in COLUMNS:
            column = f"{split}_{metric.name}_{model}"
            if column in metrics:
                rows.setdefault(metric.name, {})[f"{split}_{model}"] = metrics[column]
    return {"claim": claims["claim"], "claim_sentence": claims["claim_sentence"], "rows": rows}
