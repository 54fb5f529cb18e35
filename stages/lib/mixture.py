"""Which rows of a split are used, in which order: limits, caps, weights of sources and tasks, and a share of replay."""

from typing import NamedTuple

import numpy as np

from stages.lib.assignment import SPLITS, TRAIN, fractions, in_fair_order
from stages.lib.features import Features


class Choice(NamedTuple):
    """For each of n rows its split (a place in SPLITS), why it is left out ("" if not) and because of which row."""

    split: np.ndarray
    reason: np.ndarray
    because: np.ndarray


def strata(known: Features, task_weights: dict, sources: dict) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's pair of source and task, and each pair's weight: the source's times the task's."""
    pairs = [f"{source}\0{task}" for source, task in zip(known.sources, known.tasks)]
    names, number = np.unique(np.array(pairs), return_inverse=True)
    split = [name.split("\0", 1) for name in names.tolist()]
    weights = [sources[source].get("weight", 1.0) * (task_weights or {}).get(task, 1.0) for source, task in split]
    return number, np.array(weights, float)


def sample(
    known: Features, choice: Choice, weighing: tuple, limits: dict, replay: tuple[set, float], seed: int
) -> list:
    """The rows of each split in the order in which they are written; those above a limit get their reason."""
    number, weights = weighing
    replayed = np.isin(np.array(known.sources), list(replay[0]))
    taken = []
    for code, name in enumerate(SPLITS):
        rows = np.flatnonzero((choice.split == code) & (choice.reason == "") & ~replayed)
        rows = rows[in_fair_order(known.hashes[rows, 0], number[rows], weights, seed)]
        limit, extra = limits[f"max_{name}_samples"], rows[:0]
        if code == TRAIN and replayed.any():
            extra = np.flatnonzero(replayed & (choice.reason == ""))
            extra = extra[in_fair_order(known.hashes[extra, 0], number[extra], weights, seed)]
            total = len(rows) / (1 - replay[1]) if limit is None else limit
            choice.reason[extra[round(total * replay[1]) :]] = "replay_share"
            extra = extra[: round(total * replay[1])]
            limit = None if limit is None else limit - len(extra)
        choice.reason[rows[len(rows) if limit is None else limit :]] = f"max_{name}_samples"
        taken.append(np.concatenate([rows[:limit], extra]))
    return taken


def cap_tasks(known: Features, choice: Choice, limit: int | None, seed: int) -> None:
    """Leave out the rows of train beyond `limit` of their task."""
    if limit is None:
        return
    _, tasks = np.unique(np.array(known.tasks), return_inverse=True)
    rows = np.flatnonzero((choice.split == TRAIN) & (choice.reason == ""))
    order = rows[np.lexsort((fractions(known.hashes[rows, 0], seed), tasks[rows]))]
    starts = np.searchsorted(tasks[order], tasks[order])
    choice.reason[order[np.arange(len(order)) - starts >= limit]] = "max_rows_per_task"
