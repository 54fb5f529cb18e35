"""Which rows of a split are used, in which order: limits, caps, weights of sources and tasks, and a share of replay."""

from typing import NamedTuple

import numpy as np

from tunelock.records.splits import SPLITS, TRAIN
from tunelock.splitting.assignment import hash_to_fractions, order_fairly
from tunelock.splitting.features import Features


class Choice(NamedTuple):
    """For each of n rows its split (a place in SPLITS), why it is left out ("" if not) and because of which row."""

    split: np.ndarray
    reason: np.ndarray
    because: np.ndarray


def weigh_strata(known: Features, task_weights: dict, sources: dict) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's pair of source and task, and each pair's weight: the source's times the task's."""
    (all_sources, source), (all_tasks, task) = known.sources, known.tasks
    pairs, number = np.unique(source * len(all_tasks) + task, return_inverse=True)
    names = [(all_sources[pair // len(all_tasks)], all_tasks[pair % len(all_tasks)]) for pair in pairs]
    weights = [sources[name].get("weight", 1.0) * (task_weights or {}).get(task, 1.0) for name, task in names]
    return number, np.array(weights, float)


def take_sample(
    known: Features, choice: Choice, code: int, limit: int | None, weighing: tuple, replay: tuple[set, float], seed: int
) -> np.ndarray:
    """The rows of one split in the order in which they are written; those above `limit` get their reason.

    `replay` are the names of the replay sources and their share of train, in which they are spread evenly.
    """
    names, share = replay
    number, weights = weighing
    ready, replayed = (choice.split == code) & (choice.reason == ""), known.sources.among(names)
    rows, extra = (np.flatnonzero(ready & some) for some in (~replayed, replayed))
    rows, extra = (some[order_fairly(known.hashes[some, 0], number[some], weights, seed)] for some in (rows, extra))
    most = len(rows) / (1 - share)  # rows that there are if all of the other sources' are taken
    whole = most if limit is None else min(limit, most)
    extra, above = np.split(extra, [round(whole * share)])
    choice.reason[above] = "replay_share"
    rows, above = np.split(rows, [len(rows) if limit is None else limit - len(extra)])
    choice.reason[above] = f"max_{SPLITS[code]}_samples"
    return np.concatenate([rows, extra])[
        np.argsort(np.concatenate([_spread_evenly(rows), _spread_evenly(extra)]), kind="stable")
    ]


def _spread_evenly(rows: np.ndarray) -> np.ndarray:
    """Places between 0 and 1 at even distances, one a row."""
    return (np.arange(len(rows)) + 0.5) / max(len(rows), 1)


def cap_tasks(known: Features, choice: Choice, limit: int | None, replay: set[str], seed: int) -> None:
    """Leave out the rows of train beyond `limit` of their task; those of replay sources have their own share."""
    if limit is None:
        return
    tasks, replayed = known.tasks.codes, known.sources.among(replay)
    rows = np.flatnonzero((choice.split == TRAIN) & (choice.reason == "") & ~replayed)
    order = rows[np.lexsort((hash_to_fractions(known.hashes[rows, 0], seed), tasks[rows]))]
    starts = np.searchsorted(tasks[order], tasks[order])
    choice.reason[order[np.arange(len(order)) - starts >= limit]] = "max_rows_per_task"
