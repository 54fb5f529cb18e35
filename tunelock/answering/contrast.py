"""Which wrong answer an answer is held against, to tell what a model knows from the style it has learnt."""

from collections import defaultdict
from collections.abc import Iterable

from tunelock.records.record import Record, fold_group, fold_text, is_text, reference_of


def pick_wrong_answers(records: list[Record], lengths: list[int]) -> list[int | None]:
    """For each record of a split the number of the one whose answer is put to its question; None where there is none.

    It is of the same task and another group, and says something else. Of those it is the one whose `lengths` (tokens)
    is nearest, so that length does not tell them apart; of two as near it is the shorter one, and of equally long ones
    the one whose id is nearest in order. The order of the records changes nothing.
    """
    found: list[int | None] = [None] * len(records)
    tasks = defaultdict(list)
    for number, record in enumerate(records):
        if not is_text(record):
            tasks[record["task"]].append(number)
    for members in tasks.values():
        members.sort(key=lambda number: (lengths[number], records[number]["id"]))
        for place, number in enumerate(members):
            before = _find_other(records, number, map(members.__getitem__, range(place - 1, -1, -1)))
            after = _find_other(records, number, map(members.__getitem__, range(place + 1, len(members))))
            nearest = [other for other in (before, after) if other is not None]
            found[number] = min(nearest, key=lambda other: abs(lengths[other] - lengths[number]), default=None)
    return found


def _find_other(records: list[Record], number: int, candidates: Iterable[int]) -> int | None:
    """The first of the candidates that can stand for a wrong answer to the question of a record."""
    for other in candidates:
        if _differ(records[other], records[number]):
            return other
    return None


def _differ(one: Record, other: Record) -> bool:
    """Whether two records are of different groups and their answers say different things."""
    if fold_group(one["group"]) == fold_group(other["group"]):
        return False
    return fold_text(reference_of(one)) != fold_text(reference_of(other))
