"""Is a row of train known from a held-out row? By question and answer, by similarity, and by shared word n-grams."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tunelock.records.near import find_matches
from tunelock.records.ngrams import compute_jaccard, hash_shingles
from tunelock.records.record import reference_of
from tunelock.splitting.features import QUESTION, REFERENCE, Features

BOILERPLATE = 10  # rows; an n-gram of more rows of train is a phrase of the domain (Brown et al. 2020, appendix C)
BLOCK = 2**13  # rows that are looked up together
REMEMBERED = 2**14  # rows whose shingles are kept in memory: in a crowd of likes each is compared with many


class _Overlaps(NamedTuple):
    """The rows that are known from held-out rows, and the n-grams that are boilerplate.

    `pairs` has for each kind an array of indices into the features, of shape (k, 2): the row and one held-out row, -1
    where no single one is to blame.
    """

    pairs: dict[str, np.ndarray]
    boilerplate: np.ndarray


def find_overlaps(
    known: Features, train: np.ndarray, held: np.ndarray, kinds: list[str], threshold: float, common: np.ndarray | None
) -> _Overlaps:
    """The rows of `train` that are known from rows of `held` (both indices), by kind.

    `common` are the n-grams that count as boilerplate; None has them counted over `train`.
    """
    found, boilerplate = {}, np.zeros(0, np.uint64) if common is None else common
    if "exact" in kinds:
        found["exact"] = _find_equal(known.hashes[:, QUESTION : REFERENCE + 1], train, held)
    if "near" in kinds:
        found["near"] = _find_alike(known, train, held, threshold)
    if "ngram" in kinds:
        found["ngram"], boilerplate = _find_sharing(known, train, held, common)
    return _Overlaps(found, boilerplate)


def _find_equal(hashes: np.ndarray, train: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Rows with the same question or the same answer, 0 being none."""
    pairs = []
    for column in hashes.T:
        values, first = np.unique(column[held], return_index=True)
        place = np.clip(np.searchsorted(values, column[train]), 0, max(len(values) - 1, 0))
        hit = (values[place] == column[train]) & (column[train] != 0) if len(values) else np.zeros(len(train), bool)
        pairs.append(np.stack([train[hit], held[first[place[hit]]]], axis=1) if hit.any() else np.zeros((0, 2), int))
    return np.concatenate(pairs)


def _find_alike(known: Features, train: np.ndarray, held: np.ndarray, threshold: float) -> np.ndarray:
    """Rows that are near-duplicates as a whole, or whose answers are, where both answers say something."""

    def find_pairs(signed: np.ndarray, left: np.ndarray, right: np.ndarray, text: Callable[[int], str]) -> np.ndarray:
        @lru_cache(REMEMBERED)
        def hash_row(row: int) -> frozenset:
            return frozenset(hash_shingles(text(row)).tolist())

        def verify(i: int, j: int) -> float:
            return compute_jaccard(hash_row(left[i]), hash_row(right[j]))

        hits = find_matches(signed[left], signed[right], threshold, verify)
        return np.stack([left[hits[:, 0]], right[hits[:, 1]]], axis=1)

    saying = known.hashes[:, REFERENCE] != 0
    answers = find_pairs(
        known.references, train[saying[train]], held[saying[held]], lambda row: reference_of(known.read_record(row))
    )
    return np.concatenate([find_pairs(known.whole, train, held, known.read_text), answers])


def _find_sharing(
    known: Features, train: np.ndarray, held: np.ndarray, common: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that share an n-gram with a held-out row, unless it is boilerplate; and the boilerplate."""
    wanted = np.unique(np.concatenate([np.zeros(0, np.uint64), *(known.read_ngrams(row) for row in held)]))
    if common is None:
        counts = np.zeros(len(wanted), np.int64)
        for _, places in _find_ngrams(wanted, known, train):
            place, times = np.unique(places, return_counts=True)
            counts[place] += times
        common = wanted[counts > BOILERPLATE]
    telling = wanted[~np.isin(wanted, common)]
    guilty = np.unique(np.concatenate([train[:0], *(rows for rows, _ in _find_ngrams(telling, known, train))]))
    return np.stack([guilty, np.full(len(guilty), -1)], axis=1), common


def _find_ngrams(wanted: np.ndarray, known: Features, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for blocks of rows, each row with an n-gram in the sorted array `wanted`, and its place there."""
    for start in range(0, len(rows) if len(wanted) else 0, BLOCK):
        block = rows[start : start + BLOCK]
        own = [known.read_ngrams(row) for row in block]
        owners, values = np.repeat(block, [len(grams) for grams in own]), np.concatenate(own)
        order = np.argsort(values)  # look-ups in the order of `wanted` find it in the processor's cache
        owners, values = owners[order], values[order]
        places = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
        hit = wanted[places] == values
        yield owners[hit], places[hit]
