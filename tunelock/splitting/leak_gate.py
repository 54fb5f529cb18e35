"""The gate behind the splits: what was written is read again, and must be whole and free of leaks."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunelock.records.splits import SPLITS, TRAIN
from tunelock.records.templates import Literals
from tunelock.run.errors import Stop
from tunelock.splitting.features import GROUP, ID, Features, read_features
from tunelock.splitting.leaks import LeakParams, find_overlaps


class WrittenRows(NamedTuple):
    """The features of all written rows, and the split of each, a place in SPLITS."""

    known: Features
    split: np.ndarray


def check_splits(
    folder: Path, temporary: Path, rules: LeakParams, common: np.ndarray, literals: Literals
) -> WrittenRows:
    """The gate: read the written splits again and stop at an empty one, or at anything that two of them share.

    `temporary` is a folder for scratch files, which is made.
    """
    temporary.mkdir(exist_ok=True)
    whole = temporary / "all.jsonl"
    with open(whole, "wb") as out:
        for name in SPLITS:
            with open(folder / f"{name}.jsonl", "rb") as file:
                shutil.copyfileobj(file, out)
    known = read_features(whole, temporary, literals, rules.leak_ngram_words)
    ends = np.cumsum([(folder / f"{name}.jsonl").stat().st_size for name in SPLITS])
    split = np.searchsorted(ends, known.lines[:-1], side="right")
    for code, name in enumerate(SPLITS):
        if not (split == code).any():
            remedies = {
                "train": "lower val_ratio or test_ratio",
                "golden": "set golden_groups, golden_where or golden_ratio",
            }
            raise Stop(f"the {name} split is empty; {remedies.get(name, f'raise {name}_ratio')}, or add data.")
    for column, what in ((ID, "the row"), (GROUP, "the group")):
        _refuse_straddling(known, split, column, what)
    train, held = np.flatnonzero(split == TRAIN), np.flatnonzero(split != TRAIN)
    for kind, pairs in find_overlaps(known, train, held, rules, known.hashes[:, GROUP], common).pairs.items():
        if len(pairs):
            rows = np.unique(pairs[:, 0])
            raise Stop(
                f"leak: {len(rows)} rows of train are known from held-out ones ({kind}), such as "
                f"{known.read_record(rows[0])['id']}; report this bug."
            )
    return WrittenRows(known, split)


def _refuse_straddling(known: Features, split: np.ndarray, column: int, what: str) -> None:
    """Stop if one value of a column of hashes is in two splits."""
    order = np.lexsort((split, known.hashes[:, column]))
    values, places = known.hashes[order, column], split[order]
    straddling = np.flatnonzero((values[1:] == values[:-1]) & (places[1:] != places[:-1]))
    if len(straddling):
        record = known.read_record(int(order[straddling[0]]))
        raise Stop(f"{what} of {record['id']} is in two splits; a group must stay in one, report this bug.")
