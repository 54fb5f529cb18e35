"""The rows that training helped and hurt most; files are read line by line, for they may be large."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from math import exp

Pairs = Callable[[], Iterable[tuple[dict, dict]]]


def extremes(pairs: Pairs, size: int = 10) -> tuple[list[dict], list[dict]]:
    """The rows whose loss a token fell most, and those whose rose most or fell least; no row is in both.

    Args:
        pairs: called twice; yields each row as base and tuned left it.
        size: how many of each.
    """
    changes = [change(before, after) for before, after in pairs()]
    order = sorted(range(len(changes)), key=lambda i: (changes[i], i))
    size = min(size, len(order) // 2)
    best, worst = order[:size], order[::-1][:size]
    kept = {i: both(*pair) for i, pair in enumerate(pairs()) if i in {*best, *worst}}
    return [kept[i] for i in best], [kept[i] for i in worst]


def change(before: dict, after: dict) -> float:
    """By how much the loss rose, in nats a token of the reference."""
    return after["loss"] / after["tokens"] - before["loss"] / before["tokens"]


def both(before: dict, after: dict) -> dict:
    """One row of the report out of the two of the evaluation; an answer is None where none was asked for."""
    same = {key: before[key] for key in ("id", "split", "task", "question", "reference", "tokens")}
    return same | {
        "base": before.get("answer"), "tuned": after.get("answer"),
        "loss_base": before["loss"] / before["tokens"], "loss_tuned": after["loss"] / after["tokens"],
        "change": change(before, after),
    }  # fmt: skip


def forgotten(rows: Iterator[dict], size: int = 5) -> list[dict]:
    """The general rows whose loss a token rose most (see `stages.retention`)."""
    return heapq.nlargest(size, rows, key=lambda row: (row["loss_tuned"] - row["loss_base"]) / row["tokens"])


def general_tasks(rows: Iterable[dict]) -> list[dict]:
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
    return [{"task": task, **line(found)} for task, found in sorted(sums.items())]


def line(sums: dict[str, float]) -> dict[str, float | None]:
    """Sums over the rows of a task as what a reader looks for."""
    means = {f"perplexity_{model}": exp(sums[f"loss_{model}"] / sums["tokens"]) for model in ("base", "tuned")}
    asked = sums["asked"]
    shares = {f"accuracy_{model}": sums[f"right_{model}"] / asked if asked else None for model in ("base", "tuned")}
    return {"rows": int(sums["rows"]), "kl": sums["kl"] / sums["tokens"], **means, **shares}
