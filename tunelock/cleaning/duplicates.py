"""Which records say the same: exact duplicates, near-duplicates and conflicting answers, over arrays of hashes.

Each function takes arrays of one length n, an entry a record, and returns an int64 array of n: the index of the
record because of which this one goes, or -1. `ids` are the records' own 64-bit numbers, so that which one stays does
not depend on the order of the input.
"""

import numpy as np

NONE = -1


def find_duplicates(keys: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Of each set with the same key (content, or near-duplicate cluster) all but the smallest id go."""
    because = np.full(len(keys), NONE)
    order = np.lexsort((np.arange(len(keys)), ids, keys))
    starts = _find_run_starts(keys[order])
    first = np.repeat(order[starts], np.diff(np.append(starts, len(keys))))
    because[order] = np.where(first == order, NONE, first)
    return because


def _find_run_starts(values: np.ndarray) -> np.ndarray:
    """Where a new value begins in a sorted array."""
    return np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.zeros(0, int)


def find_conflicts(questions: np.ndarray, answers: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Records with one question and different answers go, all of them, each because of another one."""
    because = np.full(len(ids), NONE)
    order = np.lexsort((ids, answers, questions))
    bounds = np.append(_find_run_starts(questions[order]), len(order))
    long = np.flatnonzero(np.diff(bounds) > 1)
    for start, stop in zip(bounds[long], bounds[long + 1]):
        members = order[start:stop]
        if answers[members[0]] != answers[members[-1]]:
            because[members] = np.where(answers[members] == answers[members[-1]], members[0], members[-1])
    return because
