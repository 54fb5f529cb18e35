"""What the report says of the metrics: its tables, out of metrics/evaluate.json, claims.json and fresh_eyes.json."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tunelock.metrics.registry import METRICS, name_judged
from tunelock.report.plot_rows import TaskRow
from tunelock.report.result_table import COLUMNS

DIGITS = 3  # behind the point, of a metric that is not in the registry
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


class _TaskFigure(NamedTuple):
    """A metric of a task: digits to show, what it is, its values; intervals where the metric has some."""

    key: str
    digits: int
    about: str
    base: float | None
    tuned: float | None
    intervals: dict[str, tuple[float, float]]


class TaskTable(NamedTuple):
    """The metrics of a task by model, out of metrics/plots/tasks_SPLIT.json."""

    task: str
    figures: list[_TaskFigure]


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
    """The first sentence of a claim, up to a semicolon if it has one, and the rest."""
    first, *others = re.split(r"(?<=[.!?;])\s+(?=\S)", sentences.strip(), maxsplit=1)
    rest = " ".join(others)
    return Headline(f"{first[:-1]}." if first.endswith(";") else first, rest[:1].upper() + rest[1:])


def list_results(evaluate: dict[str, float], claims: dict[str, Any]) -> list[ResultRow]:
    """A row for each metric that was measured; a perplexity has the verdict on its loss."""
    rows = []
    for key in [*METRICS, *_list_other_metrics(evaluate)]:
        cells = []
        for split, model in COLUMNS:
            cells.append(_Cell(evaluate.get(f"{split}_{key}_{model}"), _find_verdict(claims, split, key, model)))
        if any(cell.value is not None for cell in cells):
            digits, about = (METRICS[key].digits, METRICS[key].meaning) if key in METRICS else (DIGITS, "")
            rows.append(ResultRow(key, digits, about, cells))
    return rows


def _list_other_metrics(evaluate: dict[str, float]) -> list[str]:
    """Metrics of both models that are not among METRICS and that no other section shows."""
    ends = {key.removesuffix("_base").split("_", 1)[1] for key in evaluate if key.endswith("_base")}
    return sorted(ends - METRICS.keys() - FRESH_EYES.keys())


def _find_verdict(claims: dict[str, Any], split: str, metric: str, model: str) -> str:
    """The verdict on a value of the tuned model; `undecided` where there is none."""
    entry = claims.get(f"{split}_{name_judged(metric)}", {})
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
        digits=METRICS[metric].digits if metric in METRICS else DIGITS,
        unit=METRICS[metric].unit if metric in METRICS else "",
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


def tabulate_tasks(rows: list[TaskRow]) -> list[TaskTable]:
    """The metrics of each task and model, a table a task."""
    tasks: dict[str, dict[str, TaskRow]] = {}
    for row in rows:
        tasks.setdefault(row["task"], {})[row["model"]] = row
    return [TaskTable(task, _list_task_figures(models)) for task, models in sorted(tasks.items())]


def _list_task_figures(models: Mapping[str, Mapping[str, Any]]) -> list[_TaskFigure]:
    """Each metric that the task has; the interval in a row is that of its perplexity."""
    figures = []
    for key, metric in METRICS.items():
        base, tuned = (models.get(model, {}).get(key) for model in ("base", "tuned"))
        if base is None and tuned is None:
            continue
        intervals = {}
        for model, row in models.items():
            if key == "perplexity" and row.get("low") is not None:
                intervals[model] = (row["low"], row["high"])
        figures.append(_TaskFigure(key, metric.digits, metric.meaning, base, tuned, intervals))
    return figures
