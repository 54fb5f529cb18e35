"""Near-duplicates: MinHash signatures, banded LSH, verified pairs, connected components.

MinHash (Broder 1997) estimates the Jaccard similarity of two texts' sets of shingles, here pairs of neighbouring
tokens (`tunelock.records.ngrams`). Of a minimum only 16 bits are kept: b-bit minwise hashing (Li and König 2010,
https://arxiv.org/abs/0910.3349). Rows that agree in all values of a band are candidates, two rows of similarity s
with probability 1 - (1 - s**r)**b (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3).

A bucket is sorted by the next band, and each member is compared with the `LAGS` before it: the sorted neighbourhood
of Hernández and Stolfo (1995). So the comparisons grow with the rows, not with the square of a bucket. In a bucket of
more than `LAGS + 1` distinct texts a pair can be missed if it stands further apart in every band and no chain of
similar texts joins it. Texts with the same shingles, each as often, are joined without comparison.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice

import numpy as np

from tunelock.records.ngrams import (
    compute_jaccard,
    compute_powers,
    hash_runs,
    hash_shingles,
    hash_words,
    mix_bits,
    split_shingle_tokens,
)

os.environ["RAYON_NUM_THREADS"] = "1"  # rensa's thread pool does not survive a fork: the workers would hang

NUM_PERM = 128
WIDTH = NUM_PERM + 4  # and a 64-bit hash of all shingles
SEED = 20240229
RECALL = 0.95  # of pairs exactly at the threshold
MARGIN = 0.12  # three standard deviations of an estimate from 128 values; below it no pair is verified
LAGS = 4
BLOCK = 8192


def compute_signatures(texts: Iterable[str]) -> np.ndarray:
    """One row of `WIDTH` 16-bit values a text; it depends on the text alone."""
    source = iter(texts)
    blocks = [_sign_block(block) for block in iter(lambda: list(islice(source, BLOCK)), [])]
    return np.concatenate(blocks) if blocks else np.empty((0, WIDTH), dtype=np.uint16)


def _sign_block(texts: list[str]) -> np.ndarray:
    """The signatures of a few thousand texts: one pass over the tokens of all, less the pairs across two texts."""
    from rensa import RMinHash  # after RAYON_NUM_THREADS is set

    found = [split_shingle_tokens(text) for text in texts]
    ends = np.cumsum([len(some) for some in found])
    hashes = np.delete(hash_runs(hash_words(list(chain.from_iterable(found))), 2), ends[:-1] - 1)
    starts = np.append(0, ends - np.arange(1, len(texts) + 1)).astype(np.uint64)
    digests = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts, NUM_PERM, SEED).to_rows()
    block = np.empty((len(texts), WIDTH), dtype=np.uint16)
    block[:, :NUM_PERM] = np.fromiter(chain.from_iterable(digests), dtype=np.uint32).reshape(len(texts), NUM_PERM)
    block[:, NUM_PERM:] = mix_bits(np.add.reduceat(hashes, starts[:-1].astype(int))).view(np.uint16).reshape(-1, 4)
    return block


def choose_bands(threshold: float) -> tuple[int, int]:
    """How many bands of how many values: the longest that find a pair at the threshold with probability `RECALL`."""
    shapes = [(NUM_PERM // size, size) for size in range(1, NUM_PERM + 1)]
    return [(count, size) for count, size in shapes if 1 - (1 - threshold**size) ** count >= RECALL][-1]


def _compute_band_keys(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """A 32-bit key for each band and row, shape (bands, rows): pairs that share one by chance fail the estimate."""
    count, size = choose_bands(threshold)
    keys = np.empty((count, len(signatures)), dtype=np.uint32)
    for start in range(0, len(signatures), BLOCK):
        block = signatures[start : start + BLOCK, : count * size].reshape(-1, count, size)
        sums = (block * compute_powers(NUM_PERM)[0][:size]).sum(2, dtype=np.uint64)
        keys[:, start : start + BLOCK] = (mix_bits(sums) >> np.uint64(32)).T
    return keys


def _find_distinct_texts(signatures: np.ndarray, answers: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each text that differs in its shingles, in the order of their hash; each row's place there.

    Texts with different `answers` are distinct.
    """
    hashes = np.ascontiguousarray(signatures[:, NUM_PERM:]).view(np.uint64).ravel()
    if answers is not None:
        hashes = hashes ^ mix_bits(answers.copy())
    return np.unique(hashes, return_index=True, return_inverse=True)[1:]


def estimate_similarities(left: np.ndarray, i: np.ndarray, right: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The share of equal values in the signatures of each pair (i, j)."""
    found = np.empty(len(i), dtype=np.float32)
    for start in range(0, len(i), BLOCK):
        some = slice(start, start + BLOCK)
        found[some] = (left[i[some], :NUM_PERM] == right[j[some], :NUM_PERM]).mean(1)
    return found


def find_clusters(
    signatures: np.ndarray,
    threshold: float,
    text_of: Callable[[int], str] | None = None,
    agree: Callable[[int, int], bool] | None = None,
    answers: np.ndarray | None = None,
) -> np.ndarray:
    """For each row the smallest row of its cluster: rows joined by pairs of at least `threshold`.

    A pair's similarity is that of the texts; without `text_of`, the estimate from the signatures. `agree` may refuse a
    pair all the same. Rows with the same text are joined without comparison, if their `answers` are the same.
    """
    rows, place = _find_distinct_texts(signatures, answers)
    if len(rows) < 2:
        return np.zeros(len(signatures), dtype=np.int32)
    labels = np.arange(len(rows))
    shingles_of = text_of and lru_cache(LAGS * 1024)(lambda i: hash_shingles(text_of(i)))
    for i, j in _pair_neighbours(_compute_band_keys(signatures, threshold), rows):
        apart = labels[i] != labels[j]
        i, j = i[apart], j[apart]  # noqa: PLW2901
        estimate = estimate_similarities(signatures, rows[i], signatures, rows[j])
        near = estimate >= (threshold - MARGIN if shingles_of else threshold)
        if shingles_of:
            pairs = zip(rows[i[near]].tolist(), rows[j[near]].tolist())
            near[near] = [
                compute_jaccard(shingles_of(a), shingles_of(b)) >= threshold and (agree is None or agree(a, b))
                for a, b in pairs
            ]
        labels = _join_labels(labels, i[near], j[near])
    _, first, where = np.unique(labels[place], return_index=True, return_inverse=True)
    return first[where].astype(np.int32)


def _pair_neighbours(keys: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each band and lag the pairs of `rows` that share a bucket and stand `lag` apart in its order."""
    for band, following in enumerate(np.roll(keys, -1, axis=0)):
        key = keys[band][rows]
        order = np.argsort(key)
        equal = key[order][1:] == key[order][:-1]
        members = order[np.append(equal, False) | np.append(False, equal)]
        members = members[np.lexsort((members, following[rows[members]], key[members]))]
        for lag in range(1, LAGS + 1):
            together = key[members[lag:]] == key[members[:-lag]]
            yield members[lag:][together], members[:-lag][together]


def _join_labels(labels: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The labels after joining the components of each pair (i, j)."""
    from scipy.sparse import coo_array  # a quarter of a second, and only clusters need it
    from scipy.sparse.csgraph import connected_components

    if not len(i):
        return labels
    graph = coo_array((np.ones(len(i), dtype=bool), (labels[i], labels[j])), shape=(len(labels), len(labels)))
    _, joined = connected_components(graph, directed=False)
    return np.asarray(joined[labels])


def find_matches(
    left: np.ndarray, right: np.ndarray, threshold: float, verify: Callable[[int, int], float] | None = None
) -> np.ndarray:
    """Pairs (i, j), one for each row i of `left` that is near a row of `right`: the most similar one met, shape (k, 2).

    `verify` gives the true similarity of two rows; without it the estimate counts. A row is compared with the
    `LAGS` distinct texts on either side of its place in each bucket.
    """
    best, partner = np.zeros(len(left)), np.full(len(left), -1)
    rows = _find_distinct_texts(right)[0]
    if not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    for i, place in _look_up_places(_compute_band_keys(left, threshold), _compute_band_keys(right[rows], threshold)):
        j = rows[place]
        estimate = estimate_similarities(left, i, right, j)
        worth = (estimate >= np.maximum(threshold, best[i]) - (MARGIN if verify else 0)) & (partner[i] != j)
        i, j, found = i[worth], j[worth], estimate[worth]  # noqa: PLW2901
        if verify:
            found = np.array([verify(a, b) for a, b in zip(i.tolist(), j.tolist())])
        better = (found >= threshold) & (found > best[i])
        best[i[better]], partner[i[better]] = found[better], j[better]
    near = np.flatnonzero(partner >= 0)
    return np.stack([near, partner[near]], axis=1)


def _look_up_places(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each band and offset the rows of `left` with those of `right` at that offset from their place."""
    shift = np.uint64(32)
    for band in range(len(left)):
        following = (band + 1) % len(left)
        mine, others = (keys[band].astype(np.uint64) << shift | keys[following] for keys in (left, right))
        order = np.argsort(others, kind="stable")
        others = others[order]
        place = np.searchsorted(others, mine)
        for offset in range(-LAGS, LAGS):
            at = np.clip(place + offset, 0, len(others) - 1)
            i = np.flatnonzero((place + offset == at) & (others[at] >> shift == mine >> shift))
            yield i, order[at[i]]
