"""Rows that share a phrase with a held-out row: n words in a row, unless it is boilerplate that many groups know.

An n-gram is boilerplate if hardly a word of it stands outside pieces of four words that many groups know. Boilerplate
is put together from such pieces ("which of the following", "pulse is 80/min"), though the whole may be rare: vital
signs differ in their digits, stems in what they are put around. Somebody's own sentence has words in no such piece.
Brown et al. 2020 (https://arxiv.org/abs/2005.14165, appendix C) count whole n-grams, which takes much data.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tunelock.records.ngrams import hash_runs, hash_words, split_words
from tunelock.splitting.features import Features

PIECE = 4  # words
OWN_WORDS = 3  # outside frequent pieces make an n-gram somebody's own: two beside a stem may be there by chance
MOST_NUMBERS = 2  # in a piece; with more of them it is not the words that it is known by
FEW_GROUPS = 7  # that know a piece do not make it frequent, whatever their share
SAMPLE_ROWS = 10_000  # about as many rows tell which pieces are frequent
BLOCK = 2**13  # rows that are looked up together
NUMBER = re.compile(r"\S*\d\S*")


class _Sharing(NamedTuple):
    """The rows that share an n-gram with a held-out one and that row, (k, 2); by row the words; the boilerplate."""

    pairs: np.ndarray
    phrases: dict[int, str]
    boilerplate: np.ndarray


class _Place(NamedTuple):
    """Where an n-gram stands: `words` from a little before it to a little behind it, `start` to `stop` its own."""

    words: list[str]
    start: int
    stop: int

    def join_own(self) -> str:
        """The n-gram."""
        return " ".join(self.words[self.start : self.stop])


class _Shared(NamedTuple):
    """The n-grams in both train and held-out rows, a held-out row with each, and its place there."""

    ngrams: np.ndarray
    owners: np.ndarray
    places: list[_Place]


def find_sharing(
    known: Features,
    train: np.ndarray,
    held: np.ndarray,
    size: int,
    share: float,
    groups: np.ndarray,
    common: np.ndarray | None,
) -> _Sharing:
    """The rows of `train` that share an n-gram of `size` words with a row of `held`, unless it is boilerplate.

    `common` are the n-grams that are boilerplate; None has those found that are made of pieces that more than `share`
    of the `groups` know, of which there is a number for each row.
    """
    rows, wanted = np.concatenate([train, held]), _collect_ngrams(known, held)
    given = (
        common
        if common is not None
        else wanted[_count_knowing_groups(known, wanted, rows, groups) > _most_of(groups[rows], share)]
    )
    wanted = wanted[~np.isin(wanted, given)]
    found = [np.stack(hits) for hits in _find_ngrams(wanted, known, train)]
    guilty, places = np.concatenate([np.zeros((2, 0), int), *found], axis=1)
    met, places = np.unique(places, return_inverse=True)
    shared = _read_shared(known, wanted[met], held, size)
    rarity = np.zeros(len(met), int)
    if common is None:
        sample = _sample_groups(rows, groups)
        rarity = _measure_rarity(known, shared.places, sample, groups)
        rare = rarity <= _most_of(groups[sample], share)
        given = np.union1d(given, shared.ngrams[~rare])
        guilty, places = guilty[rare[places]], places[rare[places]]
    order = np.lexsort((places, rarity[places], guilty))  # the rarest n-gram of each row comes first
    guilty, first = np.unique(guilty[order], return_index=True)
    chosen = places[order][first]
    phrases = {row: shared.places[place].join_own() for row, place in zip(guilty.tolist(), chosen.tolist())}
    return _Sharing(np.stack([guilty, shared.owners[chosen]], axis=1), phrases, given)


def _most_of(groups: np.ndarray, share: float) -> float:
    """How many of these groups may know a phrase that is no boilerplate: a share of SAMPLE_ROWS groups at most, for
    what so many know is nobody's own, however many groups there are."""
    return max(FEW_GROUPS, share * min(len(np.unique(groups)), SAMPLE_ROWS))


def _collect_ngrams(known: Features, rows: np.ndarray) -> np.ndarray:
    """The n-grams of these rows, sorted."""
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *(known.read_ngrams(row) for row in rows)]))


def _count_knowing_groups(known: Features, wanted: np.ndarray, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How many groups have each n-gram; one whose rows fall into two blocks is counted in both."""
    group = np.unique(groups, return_inverse=True)[1]
    counts = np.zeros(len(wanted), np.int64)
    for owners, places in _find_ngrams(wanted, known, rows[np.argsort(group[rows], kind="stable")]):
        pairs = np.unique(group[owners] * len(wanted) + places)
        place, times = np.unique(pairs % len(wanted), return_counts=True)
        counts[place] += times
    return counts


def _read_shared(known: Features, ngrams: np.ndarray, held: np.ndarray, size: int) -> _Shared:
    """The n-grams of a sorted array with their words, read again from the first held-out row that has each."""
    owners, places = np.full(len(ngrams), -1), [_Place([], 0, 0)] * len(ngrams)
    for rows, found in _find_ngrams(ngrams, known, np.sort(held)[::-1]):
        order = np.argsort(-rows, kind="stable")
        owners[found[order]] = rows[order]
    for row in np.unique(owners).tolist():
        said = split_words(known.read_text(row))
        hashes = hash_runs(hash_words(said), size)
        place = np.minimum(np.searchsorted(ngrams, hashes), len(ngrams) - 1)
        for start in np.flatnonzero(ngrams[place] == hashes).tolist():
            before = min(start, PIECE - 1)
            words = said[start - before : start + size + PIECE - 1]
            places[place[start]] = _Place(words, before, before + size)
    return _Shared(ngrams, owners, places)


def _sample_groups(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The rows of as many whole groups, chosen by their hash, as make about SAMPLE_ROWS."""
    if len(rows) <= SAMPLE_ROWS:
        return rows
    return rows[groups[rows] / 2.0**64 < SAMPLE_ROWS / len(rows)]


def _measure_rarity(known: Features, places: list[_Place], rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each n-gram how many groups of these rows know a piece with one of its words, the best piece for each word;
    of the words that of the OWN_WORDS-th lowest."""
    pieces = [_cut_pieces(place.words) for place in places]
    counts = _count_pieces(known, set().union(*pieces), rows, groups)
    rarity = np.zeros(len(places), int)
    for number, (place, some) in enumerate(zip(places, pieces)):
        best = np.zeros(len(place.words), int)
        for start, piece in enumerate(some):
            best[start : start + PIECE] = np.maximum(best[start : start + PIECE], counts[piece])
        rarity[number] = np.sort(best[place.start : place.stop])[OWN_WORDS - 1]
    return rarity


def _count_pieces(known: Features, wanted: set[str], rows: np.ndarray, groups: np.ndarray) -> Counter[str]:
    """How many groups of these rows know each piece."""
    by_group: dict[int, set[str]] = {}
    for row, group in zip(rows.tolist(), groups[rows].tolist()) if wanted else ():
        by_group.setdefault(group, set()).update(wanted.intersection(_cut_pieces(split_words(known.read_text(row)))))
    counts: Counter[str] = Counter()
    for found in by_group.values():
        counts.update(found)
    return counts


def _cut_pieces(words: list[str]) -> list[str]:
    """The runs of PIECE words in their order, with `#` for a number unless most of a run is numbers."""
    masked = NUMBER.sub("#", " ".join(words)).split(" ")
    pieces = []
    for start in range(max(len(words) - PIECE + 1, 1)):
        piece = masked[start : start + PIECE]
        pieces.append(" ".join(piece if piece.count("#") <= MOST_NUMBERS else words[start : start + PIECE]))
    return pieces


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
