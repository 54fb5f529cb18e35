"""The rows that training helped and hurt most; files are read line by line, for they may be large."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from math import exp
from typing import NamedTuple

from tunelock.records.scored_row import RowPair


class _ShownRow(NamedTuple):
    """A row as the report shows it. Losses are nats a token; an answer is None where none was asked for."""

    id: str
    split: str
    task: str
    question: str
    reference: str
    tokens: int
    base: str | None
    tuned: str | None
    loss_base: float
    loss_tuned: float
    change: float


class Extremes(NamedTuple):
    """The rows whose loss a token fell most, and those whose rose most or fell least; no row is in both."""

    best: list[_ShownRow]
    worst: list[_ShownRow]


def find_extremes(read_pairs: Callable[[], Iterable[RowPair]], size: int = 10) -> Extremes:
    """`size` rows at each end, fewer where there are few rows. `read_pairs` is called twice."""
    changes = [_measure_change(pair) for pair in read_pairs()]
    order = sorted(range(len(changes)), key=lambda place: (changes[place], place))
    size = min(size, len(order) // 2)
    best, worst = order[:size], order[::-1][:size]
    wanted = {*best, *worst}
    shown = {place: _show_row(pair) for place, pair in enumerate(read_pairs()) if place in wanted}
    return Extremes([shown[place] for place in best], [shown[place] for place in worst])


def _measure_change(pair: RowPair) -> float:
    """By how much the loss rose, in nats a token of the reference."""
    return pair.tuned["loss"] / pair.tuned["tokens"] - pair.base["loss"] / pair.base["tokens"]


def _show_row(pair: RowPair) -> _ShownRow:
    base, tuned = pair
    return _ShownRow(
        id=base["id"],
        split=base["split"],
        task=base["task"],
        question=base["question"],
        reference=base["reference"],
        tokens=base["tokens"],
        base=base.get("answer"),
        tuned=tuned.get("answer"),
        loss_base=base["loss"] / base["tokens"],
        loss_tuned=tuned["loss"] / tuned["tokens"],
        change=_measure_change(pair),
    )


def find_forgotten(rows: Iterator[dict], size: int = 5) -> list[dict]:
    """The general rows whose loss a token rose most (see `stages.retention`)."""
    return heapq.nlargest(size, rows, key=lambda row: (row["loss_tuned"] - row["loss_base"]) / row["tokens"])


def sum_general_tasks(rows: Iterable[dict]) -> list[dict]:
    """A line a task of the general rows: rows, perplexities, KL a token, accuracies of multiple choice (or None)."""
    sums = defaultdict(lambda: defaultdict(float))
    for row in rows:
        task = sums[row["task"]]
        task["rows"] += 1
        for key in ("tokens", "loss_base", "loss_tuned", "kl"):
            task[key] += row[key]
        if "choices" in row:
            task["asked"] += 1
            for model in ("base", "tuned"):
                losses = row[f"choice_losses_{model}"]
                task[f"right_{model}"] += losses.index(min(losses)) == row["right"]
    return [{"task": task, **_average_sums(found)} for task, found in sorted(sums.items())]


def _average_sums(sums: dict[str, float]) -> dict[str, float | None]:
    """Sums over the rows of a task as what a reader looks for."""
    means = {f"perplexity_{model}": exp(sums[f"loss_{model}"] / sums["tokens"]) for model in ("base", "tuned")}
    asked = sums["asked"]
    shares = {f"accuracy_{model}": sums[f"right_{model}"] / asked if asked else None for model in ("base", "tuned")}
    return {"rows": int(sums["rows"]), "kl": sums["kl"] / sums["tokens"], **means, **shares}
