"""What a user is told about the splits: the rows that are in none, and splits that are too small to show anything."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from tunelock.records.left_out import LeftOutTally, format_left_out
from tunelock.records.splits import GOLDEN, SPLITS, TEST, VAL
from tunelock.splitting.choice import SplitChoice
from tunelock.splitting.features import Features

POWER = 1.96 + 0.84  # standard errors of a difference that is found in four of five tries, at 95 % (two-sided)
WEAK = 0.7  # a split that shows no smaller change than this many standard deviations is worth a warning
FEW_VAL_ROWS = 16  # the checkpoint with the lowest loss on fewer is the best one by chance
RULED = {  # by reason the params that rule it
    "group_overlap": ("golden_groups", "golden_where"),
    "exact_overlap": ("decontaminate",),
    "near_overlap": ("decontaminate", "leak_threshold"),
    "ngram_overlap": ("decontaminate", "leak_ngram_words", "leak_boilerplate_share"),
}
RATIOS = {VAL: "val_ratio", TEST: "test_ratio", GOLDEN: "golden_ratio"}


def measure_smallest_change(groups: int) -> float:
    """The smallest change of the mean loss that so many groups show, in standard deviations of a group's change."""
    return POWER / math.sqrt(max(1, groups))


def tell_left_out(known: Features, choice: SplitChoice, params: Mapping[str, Any]) -> None:
    """Show on stderr the rows that are in no split: by reason, with the params that rule it and a row."""
    tally = LeftOutTally()
    reasons, first, counts = np.unique(choice.reason, return_index=True, return_counts=True)
    for reason, row, count in zip(reasons.tolist(), first.tolist(), counts.tolist()):
        if reason:
            tally.note_rows(reason, count, known.read_record(row))
    if tally.counts:
        rulings = {reason: _name_ruling(reason, params) for reason in tally.counts}
        print(format_left_out("in no split", tally, len(choice.reason), rulings), file=sys.stderr)


def _name_ruling(reason: str, params: Mapping[str, Any]) -> str:
    """`leak_threshold: 0.5`; a reason that is no rule's is the param itself."""
    keys = [key for key in RULED.get(reason, (reason,)) if key in params]
    short = [key if isinstance(params[key], list | dict) else f"{key}: {params[key]}" for key in keys]
    return ", ".join(short) or "no param"


def warn_of_small_splits(counts: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Say on stderr which held-out splits are too small to choose a checkpoint or to show a change.

    Args:
        counts: metrics/split.json, by split its `rows` and `groups`.
    """
    for code, ratio in RATIOS.items():
        rows, groups = counts[SPLITS[code]]["rows"], counts[SPLITS[code]]["groups"]
        change = measure_smallest_change(groups)
        if code == VAL and rows < FEW_VAL_ROWS:
            doubt = "which checkpoint is the best is nearly chance"
        elif code != VAL and groups and change > WEAK:
            doubt = f"only a change of the loss of {change:.1f} standard deviations or more would be found"
        else:
            continue
        named = code == GOLDEN and (params["golden_groups"] or params["golden_where"])
        way_out = "name more golden groups" if named else f"raise {ratio} ({params[ratio]})"
        size = f"{rows} rows of {groups} groups"
        print(f"warning: {SPLITS[code]} has {size}: {doubt}; {way_out} or bring more data", file=sys.stderr)
