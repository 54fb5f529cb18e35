"""Which rows stay in their split: whole groups, and in train nothing that is known from held-out rows."""

from typing import NamedTuple

import numpy as np

from tunelock.records.splits import TRAIN
from tunelock.splitting.features import GROUP, Features
from tunelock.splitting.leaks import LeakParams, find_overlaps


class SplitChoice(NamedTuple):
    """For each of n rows its split (a place in SPLITS), why it is left out ("" if not) and because of which row.

    `phrases` has by row the n-gram that it shares with the row because of which it is left out.
    """

    split: np.ndarray
    reason: np.ndarray
    because: np.ndarray
    phrases: dict[int, str]


def keep_groups_whole(known: Features, split: np.ndarray) -> SplitChoice:
    """Leave out the rows of a group that has others in golden (or, of replay rows, in any held-out split)."""
    _, group = np.unique(known.hashes[:, GROUP], return_inverse=True)
    home = np.zeros(len(split), int)
    np.maximum.at(home, group, split)  # of the splits of a group's rows the last one in SPLITS keeps its rows
    reason = np.where(split == home[group], "", "group_overlap").astype("U32")
    return SplitChoice(split, reason, np.full(len(split), -1), {})


def leave_out_leaks(known: Features, choice: SplitChoice, rules: LeakParams, groups: np.ndarray) -> np.ndarray:
    """Leave the rows out of train that are known from held-out ones; what many of the `groups` say is boilerplate.

    Returns:
        The n-grams that count as boilerplate.
    """
    rows = np.flatnonzero(choice.reason == "")
    train, held = rows[choice.split[rows] == TRAIN], rows[choice.split[rows] != TRAIN]
    overlaps = find_overlaps(known, train, held, rules, groups)
    choice.phrases.update(overlaps.phrases)
    for kind, pairs in reversed(overlaps.pairs.items()):  # so that the plainest reason stands
        choice.reason[pairs[:, 0]], choice.because[pairs[:, 0]] = f"{kind}_overlap", pairs[:, 1]
    return overlaps.boilerplate
