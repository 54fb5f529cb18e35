"""Which rows of a source are shown: by number, task, group or id."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tunelock.records.record import fold_group

_RANGE = re.compile(r"(\d+)(?:(-)(\d*))?")


class RowRange(NamedTuple):
    """Numbers of rows, both included; without an end where `last` is None."""

    first: int
    last: int | None


@dataclass(frozen=True, slots=True)
class RowChoice:
    """The rows that a person asks for; what is None or empty rules nothing out."""

    ranges: tuple[RowRange, ...] = ()
    task: str | None = None
    group: str | None = None
    ids: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether every row is asked for."""
        return not (self.ranges or self.task is not None or self.group is not None or self.ids)

    @property
    def last_row(self) -> int | None:
        """The last row that is asked for by number; None where there is no last."""
        ends = [one.last for one in self.ranges]
        return None if not ends or None in ends else max(end for end in ends if end is not None)

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether this record, or row that is none, is asked for."""
        line = row["line"]
        if self.ranges and not any(one.first <= line <= (one.last or line) for one in self.ranges):
            return False
        if self.ids and not _has_id(row, self.ids):
            return False
        if self.task is not None and row.get("task") != self.task:
            return False
        return self.group is None or ("group" in row and fold_group(row["group"]) == fold_group(self.group))

    def __str__(self) -> str:
        """As a sentence names it: row 40-45, task 'setup'."""
        spans = [f"{one.first}-{one.last or ''}" if one.last != one.first else str(one.first) for one in self.ranges]
        parts = [f"row {','.join(spans)}"] if spans else []
        parts += [
            f"{key} {value!r}" for key, value in (("task", self.task), ("group", self.group)) if value is not None
        ]
        return ", ".join([*parts, *(f"id {name}" for name in self.ids)])


def _has_id(row: Mapping[str, Any], ids: tuple[str, ...]) -> bool:
    """Whether one of the ids is that of the row, whatever name its source has."""
    return "id" in row and any(row["id"].rpartition("-")[2] == name.rpartition("-")[2] for name in ids)


def parse_ranges(text: str) -> tuple[RowRange, ...]:
    """`40`, `40-45`, `40-` and lists of these with commas.

    Raises:
        ValueError: it is none of these, or a range ends before it begins.
    """
    found = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            raise ValueError(f"'{part.strip()}' is no row; write 40, 40-45, 40- or a list such as 3,40-45")
        first, last = int(match[1]), int(match[3]) if match[3] else None
        last = last if match[2] else first
        if last is not None and last < first:
            raise ValueError(f"'{part.strip()}' ends before it begins")
        found.append(RowRange(first, last))
    return tuple(found)
