"""Lengths of rows as a small histogram, with the limit among its classes."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

CLASSES = 6
BELOW = 4  # classes up to the limit, where rows are longer than it; above it each is twice as wide


@dataclass(frozen=True, slots=True)
class LengthClass:
    """Rows of a length from `start` on and below `stop`, which is None for the last class."""

    start: int
    stop: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long rows are: the median, the length that keeps 95 and 99 %, the longest, how many exceed the limit."""

    unit: str
    rows: int
    median: int
    keeps_95_percent: int
    keeps_99_percent: int
    longest: int
    limit: int | None
    above_limit: int
    classes: list[LengthClass]


def summarise_lengths_of_rows(unit: str, values: Iterable[int], limit: int | None) -> Lengths | None:
    """The figures of lengths in a unit; None where there are none."""
    ordered = sorted(values)
    if not ordered:
        return None

    def take(share: float) -> int:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    above = sum(value > limit for value in ordered) if limit else 0
    classes = _count_classes(ordered, limit)
    return Lengths(unit, len(ordered), take(0.5), take(0.95), take(0.99), ordered[-1], limit, above, classes)


def _count_classes(ordered: list[int], limit: int | None) -> list[LengthClass]:
    """Classes of one width; where rows exceed the limit, one of them ends at it and the last has no end."""
    longest, is_open = ordered[-1], bool(limit and ordered[-1] > limit)
    if limit and is_open:
        below = [limit * number // BELOW + 1 for number in range(1, BELOW + 1)]
        edges = [0, *below, 2 * limit + 1, 4 * limit + 1, longest + 1]
    else:
        width = _choose_width(longest - ordered[0] + 1)
        first = ordered[0] // width * width
        edges = [first + number * width for number in range((longest - first) // width + 2)]
    found = []
    for start, stop in itertools.pairwise(edges):
        without_end = is_open and start == edges[-2]
        rows = sum(value >= start and (without_end or value < stop) for value in ordered)
        found.append(LengthClass(start, None if without_end else stop, rows))
    while len(found) > 1 and not found[-1].rows:
        found.pop()
    return found


def _choose_width(span: int) -> int:
    """A width of one or two digits and zeros, of which CLASSES hold the span."""
    width = math.ceil(span / CLASSES)
    unit = 10 ** max(0, len(str(width)) - 2)
    return math.ceil(width / unit) * unit
