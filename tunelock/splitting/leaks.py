"""Is a row of train known from a held-out row? By question and answer, by similarity, and by shared word n-grams."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tunelock.records.near import find_matches
from tunelock.records.ngrams import compute_jaccard, hash_shingles
from tunelock.splitting.features import QUESTION, REFERENCE, Features
from tunelock.splitting.phrases import find_sharing

REMEMBERED = 2**14  # rows whose shingles are kept in memory: in a crowd of likes each is compared with many


class LeakParams(NamedTuple):
    """What counts as known from a held-out row, named as in params.yaml."""

    decontaminate: list[str]
    leak_threshold: float
    leak_ngram_words: int
    leak_boilerplate_share: float


LEAK_PARAMS = LeakParams._fields


class _Overlaps(NamedTuple):
    """The rows that are known from held-out rows, the words by which some are, and the n-grams that are boilerplate.

    `pairs` has for each kind an array of indices into the features, of shape (k, 2): the row and one held-out row.
    `phrases` has by row the n-gram that it shares.
    """

    pairs: dict[str, np.ndarray]
    phrases: dict[int, str]
    boilerplate: np.ndarray


def find_overlaps(
    known: Features,
    train: np.ndarray,
    held: np.ndarray,
    rules: LeakParams,
    groups: np.ndarray,
    common: np.ndarray | None = None,
) -> _Overlaps:
    """The rows of `train` that are known from rows of `held` (both indices), by kind.

    `common` are the n-grams that count as boilerplate; None has them found by how many of the `groups` know them, of
    which there is a number for each row.
    """
    pairs = {}
    if "exact" in rules.decontaminate:
        pairs["exact"] = _find_equal(known.hashes[:, QUESTION : REFERENCE + 1], train, held)
    if "near" in rules.decontaminate:
        pairs["near"] = _find_alike(known, train, held, rules.leak_threshold)
    if "ngram" not in rules.decontaminate:
        return _Overlaps(pairs, {}, np.zeros(0, np.uint64) if common is None else common)
    shared = find_sharing(known, train, held, rules.leak_ngram_words, rules.leak_boilerplate_share, groups, common)
    return _Overlaps(pairs | {"ngram": shared.pairs}, shared.phrases, shared.boilerplate)


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
        def hash_row(row: int) -> frozenset[int]:
            return hash_shingles(text(row))

        def verify(i: int, j: int) -> float:
            return compute_jaccard(hash_row(left[i]), hash_row(right[j]))

        hits = find_matches(signed[left], signed[right], threshold, verify)
        return np.stack([left[hits[:, 0]], right[hits[:, 1]]], axis=1)

    saying = known.hashes[:, REFERENCE] != 0
    answers = find_pairs(known.references, train[saying[train]], held[saying[held]], known.read_reference)
    return np.concatenate([find_pairs(known.whole, train, held, known.read_text), answers])
