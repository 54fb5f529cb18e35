"""The rows that training helped and hurt most; files are read line by line, for they may be large."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tunelock.metrics.registry import METRICS
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
    shown = {place: _pair_row(pair) for place, pair in enumerate(read_pairs()) if place in wanted}
    return Extremes([shown[place] for place in best], [shown[place] for place in worst])


def _measure_change(pair: RowPair) -> float:
    """By how much the loss rose, in nats a token of the reference."""
    return pair.tuned["loss"] / pair.tuned["tokens"] - pair.base["loss"] / pair.base["tokens"]


def _pair_row(pair: RowPair) -> _ShownRow:
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


def find_forgotten(pairs: Iterable[RowPair], size: int = 5) -> list[_ShownRow]:
    """The general rows whose loss a token rose most."""
    return [_pair_row(pair) for pair in heapq.nlargest(size, pairs, key=_measure_change)]


def score_general_tasks(pairs: Iterable[RowPair]) -> list[dict]:
    """A line a task of the general rows: rows, perplexities, KL a token, accuracies of multiple choice (or None)."""
    tasks = defaultdict(list)
    for pair in pairs:
        tasks[pair.base["task"]].append(pair)
    return [{"task": task, **_score_general_task(members)} for task, members in sorted(tasks.items())]


def _score_general_task(pairs: list[RowPair]) -> dict[str, float | None]:
    """What a reader looks for in the general rows of a task."""
    models = {"base": [pair.base for pair in pairs], "tuned": [pair.tuned for pair in pairs]}
    tokens = sum(row["tokens"] for row in models["tuned"])
    found: dict[str, float | None] = {"rows": len(pairs), "kl": sum(row["kl"] for row in models["tuned"]) / tokens}
    perplexity, accuracy = METRICS["perplexity"], METRICS["choice_accuracy"]
    for model, rows in models.items():
        asked = list(filter(accuracy.has, rows))
        found[f"perplexity_{model}"] = perplexity.measure(rows)
        found[f"accuracy_{model}"] = accuracy.measure(asked)
    return found
