"""Which rows of a split are used, in which order: limits, caps, weights of sources and tasks, and a share of replay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunelock.records.splits import SPLITS, TRAIN
from tunelock.splitting.assignment import hash_to_fractions, order_fairly
from tunelock.splitting.choice import SplitChoice
from tunelock.splitting.features import ID, Features


@dataclass(frozen=True, slots=True)
class Mixture:
    """How the rows of a split are drawn: `strata` is the stratum of each row, its pair of source and task, `weights`
    a positive number for each stratum, `replayed` True for the rows of replay sources, which make `replay_share` of
    train."""

    strata: np.ndarray
    weights: np.ndarray
    replayed: np.ndarray
    replay_share: float
    seed: int


def plan_mixture(
    known: Features,
    sources: Mapping[str, Mapping[str, Any]],
    task_weights: dict[str, float] | None,
    replay_share: float,
    seed: int,
) -> Mixture:
    """The mixture of these sources, as params.yaml has them; a stratum weighs its source's times its task's weight."""
    tasks, count = known.tasks, len(known.tasks.names)
    pairs, strata = np.unique(known.sources.codes * count + tasks.codes, return_inverse=True)
    weights = []
    for pair in pairs:
        source, task = known.sources.names[pair // count], tasks.names[pair % count]
        weights.append(sources[source].get("weight", 1.0) * (task_weights or {}).get(task, 1.0))
    replayed = known.sources.mark_rows(name_replay_sources(sources))
    return Mixture(strata, np.array(weights, float), replayed, replay_share, seed)


def name_replay_sources(sources: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The names of the sources whose rows are mixed into train alone."""
    return {name for name, source in sources.items() if source.get("role") == "replay"}


def take_sample(known: Features, choice: SplitChoice, mixture: Mixture, code: int, limit: int | None) -> np.ndarray:
    """The rows of one split in the order in which they are written; those above `limit` get their reason.

    Replay rows are spread evenly among the others.
    """
    ready = (choice.split == code) & (choice.reason == "")
    rows = _order_rows(known, mixture, ready & ~mixture.replayed)
    extra = _order_rows(known, mixture, ready & mixture.replayed)
    most = len(rows) / (1 - mixture.replay_share)  # rows that there are if all of the other sources' are taken
    whole = most if limit is None else min(limit, most)
    extra, above = np.split(extra, [round(whole * mixture.replay_share)])
    choice.reason[above] = "replay_share"
    rows, above = np.split(rows, [len(rows) if limit is None else limit - len(extra)])
    choice.reason[above] = f"max_{SPLITS[code]}_samples"
    places = np.concatenate([_spread_evenly(rows), _spread_evenly(extra)])
    return np.concatenate([rows, extra])[np.argsort(places, kind="stable")]


def _order_rows(known: Features, mixture: Mixture, wanted: np.ndarray) -> np.ndarray:
    """The rows where `wanted` is True, so ordered that any beginning holds the strata by their weights."""
    rows = np.flatnonzero(wanted)
    return rows[order_fairly(known.hashes[rows, ID], mixture.strata[rows], mixture.weights, mixture.seed)]


def _spread_evenly(rows: np.ndarray) -> np.ndarray:
    """Places between 0 and 1 at even distances, one a row."""
    return (np.arange(len(rows)) + 0.5) / max(len(rows), 1)


def cap_tasks(known: Features, choice: SplitChoice, mixture: Mixture, limit: int | None) -> None:
    """Leave out the rows of train beyond `limit` of their task; those of replay sources have their own share."""
    if limit is None:
        return
    tasks = known.tasks.codes
    rows = np.flatnonzero((choice.split == TRAIN) & (choice.reason == "") & ~mixture.replayed)
    order = rows[np.lexsort((hash_to_fractions(known.hashes[rows, ID], mixture.seed), tasks[rows]))]
    starts = np.searchsorted(tasks[order], tasks[order])
    choice.reason[order[np.arange(len(order)) - starts >= limit]] = "max_rows_per_task"
