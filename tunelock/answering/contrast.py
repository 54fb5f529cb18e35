"""Which wrong answer an answer is held against, to tell what a model knows from the style it has learnt."""

from collections import defaultdict

from tunelock.records.record import fold_text, is_text, reference_of


def others(records: list[dict], lengths: list[int]) -> list[int | None]:
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
            sides = range(place - 1, -1, -1), range(place + 1, len(members))
            walks = ((members[at] for at in side) for side in sides)
            nearest = [next((n for n in walk if differ(records[n], records[number])), None) for walk in walks]
            nearest = [n for n in nearest if n is not None]
            if nearest:
                found[number] = min(nearest, key=lambda n: abs(lengths[n] - lengths[number]))
    return found


def differ(one: dict, other: dict) -> bool:
    """Whether two records are of different groups and their answers say different things."""
    return one["group"] != other["group"] and fold_text(reference_of(one)) != fold_text(reference_of(other))
