"""Which records say the same: exact duplicates, near-duplicates and conflicting answers, over arrays of hashes.

`because` is an int64 array of n, an entry a record: the index of the record because of which this one goes, or NONE.
`ids` are the records' own 64-bit numbers, so that which one stays does not depend on the order of the input.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tunelock.records.ngrams import split_shingle_tokens
from tunelock.records.record import Record, fold_text, hash_texts, number_of, question_of, reference_of

NONE = -1
COPIES = "duplicate", "near_duplicate"  # the reasons for which a record goes because another one says the same
ID, CONTENT, QUESTION, REFERENCE, SOURCE = range(5)  # the columns of the hashes


class Exclusion(NamedTuple):
    """The records that one rule between records leaves out, with their status: dropped or set_aside."""

    status: str
    reason: str
    because: np.ndarray


def hash_contents(record: Record) -> tuple[int, ...]:
    """The 64-bit numbers of ID, CONTENT, ...; they do not depend on case, white space and Unicode form.

    Answers that differ in punctuation alone do not conflict, so their tokens stand for them. A raw text asks nothing,
    so its id stands for its question: it conflicts with nothing.
    """
    number = number_of(record["id"])
    question, reference = fold_text(question_of(record)), fold_text(reference_of(record))
    return (
        number,
        hash_texts(question, reference),
        hash_texts(question) if question else number,
        hash_texts(*split_shingle_tokens(reference)),
        hash_texts(record["source"]),
    )


def find_repetitions(
    hashes: np.ndarray, cluster: Callable[[np.ndarray], np.ndarray] | None, conflicting_answers: str
) -> Iterator[Exclusion]:
    """Yield what each rule between records leaves out; `hashes` is uint64 of shape (n, 5).

    `cluster` gives the near-duplicate labels of the records with given indices. A rule sees what the ones before left:
    conflicts come before near-duplicates. A conflicting answer that is kept is no near-duplicate.
    """
    ids, left = hashes[:, ID], np.arange(len(hashes))
    found = find_duplicates(hashes[:, CONTENT], ids)
    yield Exclusion("dropped", "duplicate", found)
    left = left[found == NONE]
    if conflicting_answers == "set_aside":
        found = find_conflicts(hashes[left, QUESTION], hashes[left, REFERENCE], ids[left])
        yield Exclusion("set_aside", "conflicting_answers", _number_among_all(found, left, len(hashes)))
        left = left[found == NONE]
    if cluster:
        found = find_duplicates(cluster(left), ids[left])
        found[_contradict(hashes[left], found)] = NONE
        yield Exclusion("dropped", "near_duplicate", _number_among_all(found, left, len(hashes)))


def _contradict(hashes: np.ndarray, because: np.ndarray) -> np.ndarray:
    """True for a record whose question is that of the record because of which it would go, and whose answer is not."""
    same = (hashes[:, QUESTION] == hashes[because, QUESTION]) & (hashes[:, REFERENCE] != hashes[because, REFERENCE])
    return same & (because != NONE)


def _number_among_all(because: np.ndarray, left: np.ndarray, count: int) -> np.ndarray:
    """`because` of the records with the indices `left`, as indices among all `count` records."""
    whole = np.full(count, NONE)
    gone = because != NONE
    whole[left[gone]] = left[because[gone]]
    return whole


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


def find_conflicts(questions: np.ndarray, references: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Records with one question and different references go, all of them, each because of another one."""
    because = np.full(len(ids), NONE)
    order = np.lexsort((ids, references, questions))
    bounds = np.append(_find_run_starts(questions[order]), len(order))
    long = np.flatnonzero(np.diff(bounds) > 1)
    for start, stop in zip(bounds[long], bounds[long + 1]):
        members = order[start:stop]
        first, last = members[0], members[-1]
        if references[first] != references[last]:
            because[members] = np.where(references[members] == references[last], first, last)
    return because
