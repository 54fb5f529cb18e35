"""What the report says of the metrics: its tables, out of metrics/evaluate.json, claims.json and fresh_eyes.json."""

import re
from typing import Any, NamedTuple

from tunelock.report.plot_rows import TaskRow
from tunelock.report.result_table import COLUMNS

METRICS = {  # key in metrics/evaluate.json: digits, and what it is
    "perplexity": (2, "exponential of the loss; lower is better"),
    "loss": (3, "nats a token of the reference answers; lower is better"),
    "contrast": (3, "nats a token by which a question's own answer is likelier than another question's"),
    "match_accuracy": (3, "share of rows where its own answer is the likelier one"),
    "accuracy": (3, "share of answers with the right label"),
    "macro_f1": (3, "F1 of the labels, each label counting the same"),
    "choice_accuracy": (3, "share of multiple-choice rows whose right option is the likeliest"),
    "choice_accuracy_norm": (3, "the same by likelihood a character of the option"),
    "exact_match": (3, "share of answers equal to the reference, but for case, articles and punctuation"),
    "token_f1": (3, "F1 of the words shared with the reference"),
    "rouge_l": (3, "longest common subsequence with the reference, F1"),
    "bleu": (1, "0 to 100, over all answers"),
    "chrf": (1, "0 to 100, by runs of characters"),
    "format_valid": (3, "share of answers in the form that params.yaml asks for"),
    "calibration_error": (3, "mean gap of how sure and how often right, over the tokens; lower is better"),
    "stop_rate": (3, "share of answers that ended by themselves"),
    "mean_length": (1, "tokens of an answer"),
    "repetition": (3, "share of an answer's word runs that stood in it before"),
}
UNITS = {"loss": "nats a token", "contrast": "nats a token", "bleu": "of 100", "chrf": "of 100"}
FRESH_EYES = {
    "memorised": "training text by heart",
    "copied": "taken out of the question",
    "verbatim": "the reference word for word",
}


class Headline(NamedTuple):
    """The first of the sentences of a claim, and the others."""

    first: str
    others: str


class _Cell(NamedTuple):
    """A value (None: not measured) and the claims' verdict on it."""

    value: float | None
    verdict: str


class ResultRow(NamedTuple):
    """A metric: digits to show, what it is, and its cells in the order of COLUMNS."""

    key: str
    digits: int
    about: str
    cells: list[_Cell]


class _Strip(NamedTuple):
    """Where zero, a difference and its interval lie in a strip from 0 to 100 that holds all of them."""

    zero: float
    difference: float
    low: float
    high: float


class ComparisonRow(NamedTuple):
    """An entry of metrics/claims.json that compares base and tuned; None for what could not be had."""

    metric: str
    digits: int
    unit: str
    base: float
    tuned: float
    difference: float
    low: float | None
    high: float | None
    p_holm: float | None
    smallest_effect: float | None
    groups: int | None
    verdict: str
    strip: _Strip | None


class _TaskColumn(NamedTuple):
    """A column of the table by task."""

    key: str
    digits: int
    about: str


class TaskTable(NamedTuple):
    """Metrics by task and model: the columns that some task has, and the rows of metrics/plots/tasks_SPLIT.json."""

    columns: list[_TaskColumn]
    rows: list[TaskRow]


class FreshEyesRow(NamedTuple):
    """How many of `rows` answers of a split, of base and of tuned, a check of metrics/fresh_eyes.json found."""

    split: str
    about: str
    rows: int
    base: int
    tuned: int
    p: float
    examples: list[dict[str, str]]


def split_headline(sentences: str) -> Headline:
    """The sentences of a claim."""
    first, *others = re.split(r"(?<=[.!?])\s+(?=\S)", sentences.strip(), maxsplit=1)
    return Headline(first, " ".join(others))


def list_results(evaluate: dict[str, float], claims: dict[str, Any]) -> list[ResultRow]:
    """A row for each metric that was measured; a perplexity has the verdict on its loss."""
    rows = []
    for key in [*METRICS, *_list_other_metrics(evaluate)]:
        digits, about = METRICS.get(key, (3, ""))
        cells = []
        for split, model in COLUMNS:
            cells.append(_Cell(evaluate.get(f"{split}_{key}_{model}"), _find_verdict(claims, split, key, model)))
        if any(cell.value is not None for cell in cells):
            rows.append(ResultRow(key, digits, about, cells))
    return rows


def _list_other_metrics(evaluate: dict[str, float]) -> list[str]:
    """Metrics of both models that are not among METRICS and that no other section shows."""
    ends = {key.removesuffix("_base").split("_", 1)[1] for key in evaluate if key.endswith("_base")}
    return sorted(ends - METRICS.keys() - FRESH_EYES.keys())


def _find_verdict(claims: dict[str, Any], split: str, metric: str, model: str) -> str:
    """The verdict on a value of the tuned model; `undecided` where there is none."""
    entry = claims.get(f"{split}_{'loss' if metric == 'perplexity' else metric}", {})
    return entry.get("verdict", "undecided") if model == "tuned" else "undecided"


def list_comparisons(claims: dict[str, Any], split: str) -> list[ComparisonRow]:
    """The entries of metrics/claims.json that compare base and tuned on a split, in the order of METRICS."""
    entries = {}
    for key, entry in claims.items():
        if key.startswith(f"{split}_") and isinstance(entry, dict) and "difference" in entry:
            entries[key.partition("_")[2]] = entry
    order = [key for key in METRICS if key in entries]
    return [_compare_models(key, entries[key]) for key in order + sorted(entries.keys() - set(order))]


def _compare_models(metric: str, entry: dict[str, Any]) -> ComparisonRow:
    low, high = entry.get("low"), entry.get("high")
    return ComparisonRow(
        metric=metric,
        digits=METRICS.get(metric, (3,))[0],
        unit=UNITS.get(metric, ""),
        base=entry["base"],
        tuned=entry["tuned"],
        difference=entry["difference"],
        low=low,
        high=high,
        p_holm=entry.get("p_holm"),
        smallest_effect=entry.get("smallest_effect"),
        groups=entry.get("groups"),
        verdict=entry["verdict"],
        strip=place_strip(entry["difference"], low, high) if low is not None and low < high else None,
    )


def place_strip(difference: float, low: float, high: float) -> _Strip:
    """The strip of a difference, with room at both ends."""
    left, right = min(0.0, low), max(0.0, high)
    wide = right - left or 1.0
    return _Strip(*(round(6 + 88 * (value - left) / wide, 2) for value in (0.0, difference, low, high)))


def list_fresh_eyes(fresh_eyes: dict[str, Any]) -> list[FreshEyesRow]:
    """A row for each split and check of metrics/fresh_eyes.json."""
    rows = []
    for split in ("test", "golden"):
        for check, entry in fresh_eyes.get(split, {}).items():
            rows.append(FreshEyesRow(
                split, FRESH_EYES.get(check, check), entry["rows"], entry["base"], entry["tuned"], entry["p"],
                entry["examples"],
            ))  # fmt: skip
    return rows


def tabulate_tasks(rows: list[TaskRow]) -> TaskTable:
    """The metrics of each task and model."""
    known = set().union(*rows)
    columns = [_TaskColumn(key, *METRICS[key]) for key in METRICS if key in known]
    return TaskTable(columns, sorted(rows, key=lambda row: (row["task"], row["model"])))
