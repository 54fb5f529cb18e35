"""Divide the clean records into train, val, test and golden, so that nothing held out is known from train.

    python -m stages.split

Reads data/clean/records.jsonl; writes data/split/{train,val,test,golden}.jsonl, data/split/left_out.jsonl (each row
with its `reason`) and metrics/split.json. Ends with a check of the written files that stops at any leak.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunelock.records.splits import GOLDEN, SPLITS, TEST, TRAIN, VAL
from tunelock.records.templates import list_literals
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line, whole_folder, write_json
from tunelock.run.stage import stage
from tunelock.splitting.choice import SplitChoice, keep_groups_whole, leave_out_leaks
from tunelock.splitting.division import (
    GOLDEN_PARAMS,
    RATIO_PARAMS,
    GoldenParams,
    RatioParams,
    check_golden_pin,
    divide_rows,
)
from tunelock.splitting.features import GROUP, Features, read_features
from tunelock.splitting.leak_gate import WrittenRows, check_splits
from tunelock.splitting.leaks import LEAK_PARAMS, LeakParams
from tunelock.splitting.mixture import Mixture, cap_tasks, name_replay_sources, plan_mixture, take_sample
from tunelock.splitting.outcome import tell_left_out, warn_of_small_splits
from tunelock.splitting.task_names import TASK_PARAMS, warn_of_unknown_tasks

RECORDS = Path("data/clean/records.jsonl")
LIMITS = "max_train_samples", "max_val_samples", "max_test_samples", "max_golden_samples"
TOLD_PARAMS = *LIMITS, *LEAK_PARAMS, *RATIO_PARAMS, *GOLDEN_PARAMS, "max_rows_per_task", "replay_share"


class _Limits(NamedTuple):
    """The most rows by the place of their split in SPLITS, and of each task in train; None for all."""

    rows: list[int | None]
    rows_per_task: int | None


def _take_rows(
    known: Features, choice: SplitChoice, mixture: Mixture, limits: _Limits, rules: LeakParams
) -> list[np.ndarray]:
    """The rows of each split in the order of SPLITS; held-out rows are taken before those of train."""
    held = [take_sample(known, choice, mixture, code, limits.rows[code]) for code in (VAL, TEST, GOLDEN)]
    if "near" in rules.decontaminate and any((choice.reason != "") & (choice.split != TRAIN)):
        # again: in a crowd of likes the neighbours are others
        leave_out_leaks(known, choice, rules._replace(decontaminate=["near"]), known.hashes[:, GROUP])
    cap_tasks(known, choice, mixture, limits.rows_per_task)
    return [take_sample(known, choice, mixture, TRAIN, limits.rows[TRAIN]), *held]


def _write_splits(known: Features, choice: SplitChoice, taken: list[np.ndarray], folder: Path) -> Counter[str]:
    """Write the splits and the rows left out, and count the latter by reason; every row is written once."""
    left_out = np.flatnonzero(choice.reason != "")
    if len(left_out) + sum(map(len, taken)) != len(choice.split):
        raise Stop(
            f"{len(choice.split)} rows came in, but the splits and left_out.jsonl do not add up; report this bug."
        )
    for name, rows in zip(SPLITS, taken):
        with open(folder / f"{name}.jsonl", "wb") as out:
            out.writelines(map(known.read_line, rows))
    with open(folder / "left_out.jsonl", "wb") as out:
        for row in left_out.tolist():
            cause = int(choice.because[row])
            because = {"because": known.read_record(cause)["id"]} if cause >= 0 else {}
            if choice.reason[row] == "ngram_overlap":
                because["ngram"] = choice.phrases[row]
            out.write(format_json_line({**known.read_record(row), "reason": str(choice.reason[row]), **because}))
    return Counter(choice.reason[left_out].tolist())


def _refuse_known_train(known: Features, choice: SplitChoice, train: np.ndarray) -> None:
    """Stop if train is empty because all of its rows are known from held-out ones; name two such rows."""
    gone = np.flatnonzero((choice.split == TRAIN) & (choice.because >= 0))
    if len(train) == 0 and len(gone):
        counts = ", ".join(f"{reason}: {count}" for reason, count in Counter(choice.reason[gone].tolist()).items())
        row, cause = (known.read_record(int(number)) for number in (gone[0], choice.because[gone[0]]))
        raise Stop(
            f"the train split is empty: its {len(gone)} rows are known from held-out ones ({counts}), such as row "
            f"{row['line']} of {row['file']} from row {cause['line']}. Give rows that are alike one `group`, raise "
            "leak_threshold, or take a rule out of decontaminate."
        )


def _count_rows(written: WrittenRows, left_out: Counter[str]) -> dict[str, Any]:
    """The figures of metrics/split.json."""
    known = written.known
    counts: dict[str, Any] = {"left_out": dict(sorted(left_out.items()))}
    for code, name in enumerate(SPLITS):
        rows = np.flatnonzero(written.split == code)
        tasks, sizes = np.unique(known.tasks.codes[rows], return_counts=True)
        counts[name] = {
            "rows": len(rows),
            "groups": len(np.unique(known.hashes[rows, GROUP])),
            "tasks": {known.tasks.names[task]: size for task, size in zip(tasks, sizes.tolist())},
        }
    return counts


@stage("split")
def main(params, _fingerprint) -> str:
    ratios, golden = RatioParams(**params.select(RATIO_PARAMS)), GoldenParams(**params.select(GOLDEN_PARAMS))
    limits = _Limits([params.select(LIMITS)[limit] for limit in LIMITS], params.max_rows_per_task)
    replay = name_replay_sources(params.sources)
    rules, literals = LeakParams(**params.select(LEAK_PARAMS)), list_literals(params.sources)
    with whole_folder("data/split") as folder, tempfile.TemporaryDirectory(dir="data") as temporary:
        known = read_features(
            Path("data/clean/records.jsonl"), Path(temporary, "clean"), literals, rules.leak_ngram_words
        )
        warn_of_unknown_tasks(params.select(TASK_PARAMS), list(known.tasks.names))
        division = divide_rows(known, ratios, golden, rules.leak_threshold, replay)
        choice = keep_groups_whole(known, division.split)
        boilerplate = leave_out_leaks(known, choice, rules, division.groups)
        mixture = plan_mixture(known, params.sources, params.task_weights, params.replay_share, ratios.split_seed)
        taken = _take_rows(known, choice, mixture, limits, rules)
        _refuse_known_train(known, choice, taken[TRAIN])
        left_out = _write_splits(known, choice, taken, folder)
        tell_left_out(known, choice, params.select(TOLD_PARAMS))
        del known  # its mapped files count as memory
        written = check_splits(folder, Path(temporary, "written"), rules, boilerplate, literals)
        check_golden_pin(written.known, written.split, params.golden_sha256)
        counts = _count_rows(written, left_out)
        write_json("metrics/split.json", counts)
        warn_of_small_splits(counts, params.select(TOLD_PARAMS))
    return ", ".join(f"{name} {(written.split == code).sum()}" for code, name in enumerate(SPLITS))


if __name__ == "__main__":
    main()
