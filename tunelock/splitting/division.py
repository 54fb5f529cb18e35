"""Each row gets its split: near-duplicates are joined, the golden set is marked, the rest is divided by group."""

import sys
from typing import NamedTuple

import numpy as np

from tunelock.records.near import find_clusters
from tunelock.records.record import fold_group, hash_texts
from tunelock.records.splits import GOLDEN, SPLITS, TEST, TRAIN, VAL
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_value
from tunelock.splitting.assignment import (
    find_lonely_tasks,
    hash_to_fractions,
    join_groups,
    split_by_hash,
    split_by_task,
)
from tunelock.splitting.features import FOLDED_GROUP, GROUP, ID, Features

MAX_JOINED = 0.02  # share of the rows above which groups that similarity chained together fall apart again


class RatioParams(NamedTuple):
    """How rows are divided, named as in params.yaml."""

    split_seed: int
    split_method: str
    val_ratio: float
    test_ratio: float


class GoldenParams(NamedTuple):
    """What is in the golden set, named as in params.yaml."""

    golden_groups: list[str] | None
    golden_where: dict[str, str] | None
    golden_ratio: float


RATIO_PARAMS, GOLDEN_PARAMS = RatioParams._fields, GoldenParams._fields


class _Division(NamedTuple):
    """For each row its split, a place in SPLITS, and the number of its group, near-duplicates joined."""

    split: np.ndarray
    groups: np.ndarray


def divide_rows(
    known: Features, ratios: RatioParams, golden: GoldenParams, threshold: float, replay: set[str]
) -> _Division:
    """The split and the group of each row; near-duplicates are joined first. Replay rows are for train alone."""
    near = find_clusters(known.whole, threshold, known.read_text)
    most = min(MAX_JOINED, ratios.val_ratio, ratios.test_ratio)
    groups = join_groups(known.hashes[:, GROUP], near, most * len(near))
    replayed = known.sources.mark_rows(replay)
    chosen = (_mark_golden(known, golden) | _sample_golden(groups, ~replayed, golden.golden_ratio, ratios)) & ~replayed
    split, free = np.where(chosen, GOLDEN, TRAIN), np.flatnonzero(~chosen & ~replayed)
    split[free] = _divide_groups(groups[free], known.tasks.codes[free], ratios)
    _leave_lonely_tasks_in_train(known, groups, split, free)
    _refuse_large_groups(known, groups, split, free, {VAL: ratios.val_ratio, TEST: ratios.test_ratio})
    return _Division(split, groups)


def _divide_groups(groups: np.ndarray, tasks: np.ndarray, ratios: RatioParams) -> np.ndarray:
    if ratios.split_method == "hash":
        return split_by_hash(groups, ratios.split_seed, ratios.val_ratio, ratios.test_ratio)
    return split_by_task(groups, tasks, ratios.split_seed, ratios.val_ratio, ratios.test_ratio)


def _mark_golden(known: Features, golden: GoldenParams) -> np.ndarray:
    """True for the rows of the golden set that are there by list of groups or by the value of a field."""
    names = {hash_texts(fold_group(group)): group for group in golden.golden_groups or ()}
    absent = sorted(name for number, name in names.items() if number not in known.hashes[:, FOLDED_GROUP])
    if absent:
        raise Stop(f"golden_groups: no clean row has the group '{absent[0]}'; correct its name or take it out.")
    listed = np.isin(known.hashes[:, FOLDED_GROUP], np.array(list(names), np.uint64))
    ruled = np.zeros(len(listed), bool)
    for field, value in (golden.golden_where or {}).items():
        ruled |= {"task": known.tasks, "source": known.sources}[field].mark_rows([value])
    return listed | ruled


def _sample_golden(groups: np.ndarray, may: np.ndarray, ratio: float, ratios: RatioParams) -> np.ndarray:
    """True for the rows of a share of the groups: of those by hash below it, or of the stratified exactly so many.

    A handful of groups may all have hashes above the share, so one at least is taken.
    """
    place = hash_to_fractions(groups, ratios.split_seed + 1)
    ordered = np.unique(place[may])
    if ratio == 0 or not len(ordered):
        return np.zeros(len(groups), bool)
    count = round(ratio * len(ordered)) if ratios.split_method == "stratified" else int(np.sum(ordered < ratio))
    return place <= ordered[max(1, count) - 1]


def _leave_lonely_tasks_in_train(known: Features, groups: np.ndarray, split: np.ndarray, free: np.ndarray) -> None:
    """Put the groups that alone have a task into train, with a warning. Changes `split`."""
    tasks = known.tasks.codes
    alone = free[np.isin(tasks[free], find_lonely_tasks(groups[free], tasks[free]))]
    if len(alone):
        names = [known.tasks.names[code] for code in np.unique(tasks[alone])]
        print(f"warning: one group alone has the task(s) {', '.join(names)}; it goes to train", file=sys.stderr)
        split[free[np.isin(groups[free], groups[alone])]] = TRAIN


def _refuse_large_groups(
    known: Features, groups: np.ndarray, split: np.ndarray, free: np.ndarray, ratios: dict[int, float]
) -> None:
    """Stop if one group alone is more than the whole of the held-out split that it fell into."""
    for code, ratio in ratios.items():
        members = free[split[free] == code]
        found, first, counts = np.unique(groups[members], return_index=True, return_counts=True)
        if len(found) and counts.max() > max(1, ratio * len(free)):
            group = known.read_record(members[first[counts.argmax()]])["group"]
            raise Stop(
                f"group '{group}' has {counts.max()} rows, more than the share {ratio} of {len(free)} rows that "
                f"{SPLITS[code]} is to have; raise {SPLITS[code]}_ratio, name a finer `group`, or change split_seed."
            )


def check_golden_pin(known: Features, split: np.ndarray, pinned: str | None) -> None:
    """Stop if the golden set is not the one that was pinned: numbers before and after would not compare."""
    found = sha256_value(sorted(known.hashes[split == GOLDEN, ID].tolist()))
    if pinned not in (None, found):
        raise Stop(
            f"the golden set has changed: its sha256 is {found}, golden_sha256 pins {pinned}. Bring the old rows back, "
            "or pin the new set if its numbers need not compare with those before."
        )
