"""Rows that share a phrase with a held-out row: n words in a row, unless it is boilerplate that many groups know."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tunelock.records.ngrams import drop_repetitions, hash_runs, hash_words, split_words
from tunelock.splitting.boilerplate import (
    GAP,
    find_most_common,
    hash_pieces,
    measure_rarity,
    read_words,
    sample_groups,
)
from tunelock.splitting.features import Features

PREFIX_BITS = 24  # of a hash; of these the wanted ones are marked in a table of 16 MB


class _Sharing(NamedTuple):
    """The rows that share an n-gram with a held-out one and that row, (k, 2); by row the words; the boilerplate."""

    pairs: np.ndarray
    phrases: dict[int, str]
    boilerplate: np.ndarray


class _Shared(NamedTuple):
    """The n-grams in both train and held-out rows: a held-out row with each, and the number of its first word there.

    `pieces` are the hashes of the pieces of those rows, `places` where the first word of each n-gram stands among them.
    """

    ngrams: np.ndarray
    owners: np.ndarray
    starts: np.ndarray
    pieces: np.ndarray
    places: np.ndarray


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
    rows, wanted = np.concatenate([train, held]), drop_repetitions(known.read_ngrams(held).hashes)
    given = (
        common
        if common is not None
        else wanted[_count_knowing_groups(known, wanted, rows, groups) > find_most_common(groups[rows], share)]
    )
    wanted = wanted[~np.isin(wanted, given)]
    found = [np.stack(hits) for hits in _find_ngrams(wanted, known, train)]
    guilty, places = np.concatenate([np.zeros((2, 0), int), *found], axis=1)
    met, places = np.unique(places, return_inverse=True)
    shared = _read_shared(known, wanted[met], held, size)
    rarity = np.zeros(len(met), int)
    if common is None:
        sample = sample_groups(rows, groups)
        rarity = measure_rarity(known, shared.pieces, shared.places, size, sample, groups)
        rare = rarity <= find_most_common(groups[sample], share)
        given = np.union1d(given, shared.ngrams[~rare])
        guilty, places = guilty[rare[places]], places[rare[places]]
    order = np.lexsort((places, rarity[places], guilty))  # the rarest n-gram of each row comes first
    guilty, first = np.unique(guilty[order], return_index=True)
    chosen = places[order][first]
    words = _read_phrases(known, shared, drop_repetitions(chosen.copy()), size)
    phrases = {row: words[place] for row, place in zip(guilty.tolist(), chosen.tolist())}
    return _Sharing(np.stack([guilty, shared.owners[chosen]], axis=1), phrases, given)


def _count_knowing_groups(known: Features, wanted: np.ndarray, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How many groups have each n-gram; one whose rows fall into two blocks is counted in both."""
    first, group = np.unique(groups, return_index=True, return_inverse=True)[1:]
    counts = np.zeros(len(wanted), np.int64)
    for owners, places in _find_ngrams(wanted, known, rows[np.lexsort((rows, first[group[rows]]))]):
        pairs = drop_repetitions(group[owners] * len(wanted) + places)
        counts += np.bincount(pairs % len(wanted), minlength=len(wanted))
    return counts


def _read_shared(known: Features, ngrams: np.ndarray, held: np.ndarray, size: int) -> _Shared:
    """The n-grams of a sorted array where they stand in the first held-out row that has each."""
    owners, starts, places = (np.full(len(ngrams), -1) for _ in range(3))
    for rows, found in _find_ngrams(ngrams, known, np.sort(held)[::-1]):
        order = np.argsort(-rows, kind="stable")
        owners[found[order]] = rows[order]
    pieces, before = [np.zeros(0, np.uint64)], 0
    for words, origins in read_words(known, drop_repetitions(owners.copy())):
        hashes = hash_words(words)
        runs = hash_runs(hashes, size)
        place = np.minimum(np.searchsorted(ngrams, runs), len(ngrams) - 1)
        here = np.flatnonzero((ngrams[place] == runs) & (owners[place] == origins[: len(runs)]))
        places[place[here]] = before + here
        starts[place[here]] = here - np.searchsorted(origins, origins[here]) - len(GAP)
        pieces.append(hash_pieces(words, hashes))
        before += len(origins)
    return _Shared(ngrams, owners, starts, np.concatenate(pieces), places)


def _read_phrases(known: Features, shared: _Shared, places: np.ndarray, size: int) -> dict[int, str]:
    """The words of the n-grams at these places of `shared`, read again from the rows that have them."""
    read_row = lru_cache(1)(lambda row: split_words(known.read_text(row)))
    phrases = {}
    for place in places[np.argsort(shared.owners[places])].tolist():
        start = shared.starts[place]
        phrases[place] = " ".join(read_row(int(shared.owners[place]))[start : start + size])
    return phrases


def _find_ngrams(wanted: np.ndarray, known: Features, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for blocks of rows, each row with an n-gram in the sorted array `wanted`, and its place there."""
    shift = np.uint64(64 - PREFIX_BITS)
    marked = np.zeros(1 << PREFIX_BITS, bool)
    marked[wanted >> shift] = True
    for block in known.cut_blocks(rows) if len(wanted) else ():
        owners, values = known.read_ngrams(block)
        likely = np.flatnonzero(marked[values >> shift])
        likely = likely[np.argsort(values[likely])]  # look-ups in the order of `wanted` find it in the cache
        owners, values = owners[likely], values[likely]
        places = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
        hit = wanted[places] == values
        yield owners[hit], places[hit]
