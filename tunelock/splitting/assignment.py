"""Which rows go to which split: arrays in, arrays out, and nothing that depends on the order of the input.

Rows are known by `groups`, int64 of shape (n,): rows with the same number must stay together.
"""

import hashlib
import warnings
from fractions import Fraction
from itertools import islice

import numpy as np

from tunelock.records.ngrams import mix_bits
from tunelock.records.splits import TEST, TRAIN, VAL

MAX_FOLDS = 20  # more of them come nearer to a ratio such as 0.3, and take longer


def hash_to_fractions(keys: np.ndarray, seed: int) -> np.ndarray:
    """For each 64-bit key a number in [0, 1) that follows from `seed` and the key alone."""
    salt = np.frombuffer(hashlib.sha256(str(seed).encode()).digest()[:8], np.uint64)[0]
    return (mix_bits(keys.astype(np.uint64) ^ salt) >> np.uint64(11)) / 2**53


def join_groups(groups: np.ndarray, clusters: np.ndarray, max_rows: float) -> np.ndarray:
    """Groups that share a near-duplicate cluster become one, unless it would have more than `max_rows` rows.

    Similarity chains: where everything is a little like something else, one group would swallow the data. Such a chain
    falls apart into its groups again, and `tunelock.splitting.leaks` takes its near-duplicates out of train row by row.

    Returns:
        The number of the joined group of each row: the smallest of the groups in it.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, group = np.unique(groups, return_inverse=True)
    _, cluster = np.unique(clusters, return_inverse=True)
    size = len(names) + len(cluster)
    edges = coo_array((np.ones(len(group), bool), (group, len(names) + cluster)), shape=(size, size))
    component = connected_components(edges, directed=False)[1][: len(names)]
    rows = np.bincount(component[group], minlength=component.max() + 1)
    smallest = np.full(component.max() + 1, names.max(), names.dtype)
    np.minimum.at(smallest, component, names)
    return np.where(rows[component[group]] > max_rows, groups, smallest[component[group]])


def split_by_hash(groups: np.ndarray, seed: int, val_ratio: float, test_ratio: float) -> np.ndarray:
    """The split of each row by the hash of its group: it depends on no other group, so new rows move no old ones."""
    place = hash_to_fractions(groups, seed)
    return np.select([place < val_ratio, place < val_ratio + test_ratio], [VAL, TEST], TRAIN)


def split_by_task(groups: np.ndarray, tasks: np.ndarray, seed: int, val_ratio: float, test_ratio: float) -> np.ndarray:
    """The split of each row so that the shares of the tasks are as even as whole groups allow.

    scikit-learn's StratifiedGroupKFold, once for test and once for val. It looks at all groups, so new rows can move
    old ones.
    """
    split = np.full(len(groups), TRAIN)
    for target, ratio in ((TEST, test_ratio), (VAL, val_ratio / (1 - test_ratio))):
        rest = np.flatnonzero(split == TRAIN)
        split[rest[_take_fold(groups[rest], tasks[rest], seed, ratio)]] = target
    return split


def _take_fold(groups: np.ndarray, tasks: np.ndarray, seed: int, ratio: float) -> np.ndarray:
    """The indices of about `ratio` of the rows, in whole groups; none if there are too few rows for that."""
    from sklearn.model_selection import StratifiedGroupKFold

    share = Fraction(ratio).limit_denominator(max(MAX_FOLDS, round(1 / min(ratio, 1 - ratio))))
    count = min(share.denominator, len(np.unique(groups)), np.unique(tasks, return_counts=True)[1].max(initial=0))
    if count < 2:
        return np.zeros(0, int)
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    taken = islice(folds.split(tasks, tasks, groups), max(1, round(count * ratio)))
    with warnings.catch_warnings(action="ignore"):  # of a task with fewer rows than folds
        return np.concatenate([fold for _, fold in taken])


def find_lonely_tasks(groups: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """The tasks that one group alone has: they cannot be both trained and tested."""
    pairs = np.unique(np.stack([tasks.astype(groups.dtype), groups]), axis=1)
    found, counts = np.unique(pairs[0], return_counts=True)
    return found[counts == 1]


def order_fairly(ids: np.ndarray, strata: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """An order of rows in which any beginning holds the strata in proportion to their weights.

    `strata` are small integers, `weights` a positive number for each. The k-th row of a stratum, by hash, comes at the
    time (k + 1/2) / weight: weighted fair queueing. A row that arrives displaces at most one other.
    """
    place = hash_to_fractions(ids, seed)
    order = np.lexsort((place, strata))
    starts = np.searchsorted(strata[order], np.arange(len(weights)))
    rank = np.arange(len(ids)) - starts[strata[order]]
    return order[np.lexsort((strata[order], (rank + 0.5) / weights[strata[order]]))]
