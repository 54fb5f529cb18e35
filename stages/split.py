"""Divide the clean records into train, val, test and golden, so that nothing held out is known from train.

    python -m stages.split

Reads data/clean/records.jsonl; writes data/split/{train,val,test,golden}.jsonl, data/split/left_out.jsonl (each row
with its `reason`) and metrics/split.json. Ends with a check of the written files that stops at any leak.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tunelock.records.near import find_clusters
from tunelock.records.record import hash_texts
from tunelock.records.splits import GOLDEN, SPLITS, TEST, TRAIN, VAL
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line, whole_folder, write_json
from tunelock.run.hashing import sha256_value
from tunelock.run.stage import stage
from tunelock.splitting.assignment import (
    find_lonely_tasks,
    hash_to_fractions,
    join_groups,
    split_by_hash,
    split_by_task,
)
from tunelock.splitting.features import Features, read_features
from tunelock.splitting.leak_gate import check_splits
from tunelock.splitting.leaks import find_overlaps
from tunelock.splitting.mixture import Choice, cap_tasks, take_sample, weigh_strata

GOLDEN_PARAMS = ("golden_groups", "golden_where", "golden_ratio")
RATIO_PARAMS = ("split_seed", "split_method", "val_ratio", "test_ratio")
MAX_JOINED = 0.02  # share of the rows above which groups that similarity chained together fall apart again
LIMITS = "max_train_samples", "max_val_samples", "max_test_samples", "max_golden_samples"


def is_golden(known: Features, groups: np.ndarray, golden_groups, golden_where, golden_ratio, seed: int) -> np.ndarray:
    """The rows of the golden set: by list of groups, by the value of a field, or by a share of the groups."""
    names = {hash_texts(group): group for group in golden_groups or ()}
    absent = sorted(name for number, name in names.items() if number not in known.hashes[:, 1])
    if absent:
        raise Stop(f"golden_groups: no clean row has the group '{absent[0]}'; correct its name or take it out.")
    listed = np.isin(known.hashes[:, 1], np.array(list(names), np.uint64))
    ruled = np.zeros(len(groups), bool)
    for field, value in (golden_where or {}).items():
        ruled |= {"task": known.tasks, "source": known.sources}[field].among([value])
    return listed | ruled | (hash_to_fractions(groups, seed + 1) < golden_ratio)


def assign(known: Features, ratios: dict, golden: dict, threshold: float, replay: set[str]) -> np.ndarray:
    """The split of each row; near-duplicates are joined first. Replay rows are for train alone."""
    near = find_clusters(known.whole, threshold, known.text)
    most = min(MAX_JOINED, ratios["val_ratio"], ratios["test_ratio"])
    groups = join_groups(known.hashes[:, 1], near, most * len(near))
    replayed = known.sources.among(replay)
    chosen = is_golden(known, groups, **golden, seed=ratios["split_seed"]) & ~replayed
    tasks = known.tasks.codes
    split, free = np.where(chosen, GOLDEN, TRAIN), np.flatnonzero(~chosen & ~replayed)
    how = {"seed": ratios["split_seed"], "val_ratio": ratios["val_ratio"], "test_ratio": ratios["test_ratio"]}
    if ratios["split_method"] == "hash":
        split[free] = split_by_hash(groups[free], **how)
    else:
        split[free] = split_by_task(groups[free], tasks[free], **how)
    lonely = find_lonely_tasks(groups[free], tasks[free])
    alone = free[np.isin(tasks[free], lonely)]
    if len(alone):
        names = [known.tasks.names[code] for code in np.unique(tasks[alone])]
        print(f"warning: one group alone has the task(s) {', '.join(names[:5])}; it goes to train", file=sys.stderr)
        split[free[np.isin(groups[free], groups[alone])]] = TRAIN
    refuse_large_groups(known, groups, split, free, {VAL: ratios["val_ratio"], TEST: ratios["test_ratio"]})
    return split


def refuse_large_groups(known: Features, groups, split, free: np.ndarray, ratios: dict[int, float]) -> None:
    """Stop if one group alone is more than the whole of the held-out split that it fell into."""
    for code, ratio in ratios.items():
        members = free[split[free] == code]
        found, first, counts = np.unique(groups[members], return_index=True, return_counts=True)
        if len(found) and counts.max() > max(1, ratio * len(free)):
            group = known.record(members[first[counts.argmax()]])["group"]
            raise Stop(
                f"group '{group}' has {counts.max()} rows, more than the share {ratio} of {len(free)} rows that "
                f"{SPLITS[code]} is to have; raise {SPLITS[code]}_ratio, name a finer `group`, or change split_seed."
            )


def whole_groups(known: Features, split: np.ndarray) -> Choice:
    """Leave out the rows of a group that has others in golden (or, of replay rows, in any held-out split)."""
    _, group = np.unique(known.hashes[:, 1], return_inverse=True)
    home = np.zeros(len(split), int)
    np.maximum.at(home, group, split)  # of the splits of a group's rows the last one in SPLITS keeps its rows
    reason = np.where(split == home[group], "", "group_overlap").astype("U32")
    return Choice(split, reason, np.full(len(split), -1))


def leave_out_leaks(
    known: Features, choice: Choice, kinds: list[str], threshold: float, common: np.ndarray | None = None
) -> np.ndarray:
    """Leave the rows out of train that are known from held-out ones; `common` n-grams count as boilerplate.

    Returns:
        The n-grams that count as boilerplate.
    """
    rows = np.flatnonzero(choice.reason == "")
    train, held = rows[choice.split[rows] == TRAIN], rows[choice.split[rows] != TRAIN]
    found, common = find_overlaps(known, train, held, kinds, threshold, common)
    for kind, pairs in reversed(found.items()):  # so that the plainest reason stands
        choice.reason[pairs[:, 0]], choice.because[pairs[:, 0]] = f"{kind}_overlap", pairs[:, 1]
    return common


def write(known: Features, choice: Choice, taken: list[np.ndarray], folder: Path) -> Counter:
    """Write the splits and the rows left out, and count the latter by reason; every row is written once."""
    left_out = np.flatnonzero(choice.reason != "")
    if len(left_out) + sum(map(len, taken)) != len(choice.split):
        raise Stop(
            f"{len(choice.split)} rows came in, but the splits and left_out.jsonl do not add up; report this bug."
        )
    for name, rows in zip(SPLITS, taken):
        with open(folder / f"{name}.jsonl", "wb") as out:
            out.writelines(map(known.line, rows))
    with open(folder / "left_out.jsonl", "wb") as out:
        for row in left_out:
            cause = choice.because[row]
            because = {"because": known.record(cause)["id"]} if cause >= 0 else {}
            out.write(format_json_line({**known.record(row), "reason": str(choice.reason[row]), **because}))
    return Counter(choice.reason[left_out].tolist())


def figures(known: Features, split: np.ndarray, left_out: Counter) -> dict:
    """The figures of metrics/split.json."""
    found = {"left_out": dict(sorted(left_out.items()))}
    for code, name in enumerate(SPLITS):
        rows = np.flatnonzero(split == code)
        codes, counts = np.unique(known.tasks.codes[rows], return_counts=True)
        tasks = dict(zip((known.tasks.names[code] for code in codes), counts.tolist()))
        found[name] = {"rows": len(rows), "groups": len(np.unique(known.hashes[rows, 1])), "tasks": tasks}
    return found


@stage("split")
def main(params, _fingerprint) -> str:
    sources, seed = params.sources, params.split_seed
    replay = {name for name, source in sources.items() if source.get("role") == "replay"}
    kinds, threshold = params.decontaminate, params.leak_threshold
    with whole_folder("data/split") as folder, tempfile.TemporaryDirectory(dir="data") as temporary:
        first, second = (Path(temporary, name) for name in ("clean", "written"))
        first.mkdir()
        second.mkdir()
        known = read_features(Path("data/clean/records.jsonl"), first)
        split = assign(known, params.select(RATIO_PARAMS), params.select(GOLDEN_PARAMS), threshold, replay)
        choice = whole_groups(known, split)
        common = leave_out_leaks(known, choice, kinds, threshold)
        how = weigh_strata(known, params.task_weights, sources), (replay, params.replay_share), seed
        held = [
            take_sample(known, choice, code, params.select(LIMITS)[LIMITS[code]], *how) for code in (VAL, TEST, GOLDEN)
        ]
        if "near" in kinds and any((choice.reason != "") & (choice.split != TRAIN)):
            leave_out_leaks(known, choice, ["near"], threshold)  # again: in a crowd of likes the neighbours are others
        cap_tasks(known, choice, params.max_rows_per_task, replay, seed)
        taken = [take_sample(known, choice, TRAIN, params.max_train_samples, *how), *held]
        left_out = write(known, choice, taken, folder)
        del known  # its mapped files count as memory
        known, split = check_splits(folder, second, kinds, threshold, common)
        check_golden(known, split, params.golden_sha256)
        write_json("metrics/split.json", figures(known, split, left_out))
    return ", ".join(f"{name} {(split == code).sum()}" for code, name in enumerate(SPLITS))


def check_golden(known: Features, split: np.ndarray, pinned: str | None) -> None:
    """Stop if the golden set is not the one that was pinned: numbers before and after would not compare."""
    found = sha256_value(sorted(known.hashes[split == GOLDEN, 0].tolist()))
    if pinned not in (None, found):
        raise Stop(
            f"the golden set has changed: its sha256 is {found}, golden_sha256 pins {pinned}. Bring the old rows back, "
            "or pin the new set if its numbers need not compare with those before."
        )


if __name__ == "__main__":
    main()
