"""The columns of a table in one pass and flat memory: how often values repeat, how long they are, a sample of rows.

Repetition is counted for the values with the smallest hashes alone, each with all of its rows (the bottom-k sketch of
Cohen and Kaplan 2007, https://doi.org/10.1145/1281100.1281133). A column of at most MOST_VALUES values is whole.
The sample of rows is a reservoir (Vitter 1985, https://doi.org/10.1145/3147.3165); chance is a hash of the row.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import xxhash

from tunelock.reading.formats import detect_format
from tunelock.reading.rows import Columns, Fault, Row
from tunelock.reading.values import open_paths

MOST_VALUES = 2048  # of a column, that are counted at once
SAMPLED = 4000  # rows
SAMPLED_CHARS = 2**26  # of all sampled rows together
MOST_INNER = 64  # values in objects that are looked at; an object with more keys is a table of its own
SHORT = 80  # characters; a longer value is counted, not kept
FULL_RANGE = 2**64
NUMBER = re.compile(r"\s*[-+]?\d{1,20}(?:[.,]\d{1,20})?\s*")


@dataclass(slots=True)
class ValueCounts:
    """How many rows have each value, of the values whose hash is at most `limit`."""

    limit: int = FULL_RANGE
    counts: dict[int, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def add(self, value: str) -> None:
        """Count one row with this value."""
        number = xxhash.xxh3_64_intdigest(value.encode(errors="surrogatepass"))
        if number > self.limit:
            return
        seen = self.counts.get(number)
        self.counts[number] = 1 if seen is None else seen + 1
        if seen is None:
            if len(value) <= SHORT:
                self.names[number] = value
            if len(self.counts) > 2 * MOST_VALUES:
                self._keep_smallest()

    def _keep_smallest(self) -> None:
        """Forget the larger half of the hashes."""
        kept = sorted(self.counts)[:MOST_VALUES]
        self.limit = kept[-1]
        self.counts = {number: self.counts[number] for number in kept}
        self.names = {number: self.names[number] for number in kept if number in self.names}

    @property
    def is_whole(self) -> bool:
        """Whether every value was counted."""
        return self.limit == FULL_RANGE

    @property
    def distinct(self) -> int:
        """How many values there are, about."""
        return round(len(self.counts) * FULL_RANGE / self.limit)

    @property
    def repeats(self) -> float:
        """Rows a value, on average."""
        return sum(self.counts.values()) / max(1, len(self.counts))

    def find_most_common(self) -> list[tuple[str, int]]:
        """The short values that were counted, the most frequent first."""
        named = [(name, self.counts[number]) for number, name in self.names.items()]
        return sorted(named, key=lambda pair: (-pair[1], pair[0]))


@dataclass(slots=True)
class ColumnProfile:
    """One column: how many rows fill it with what type, its values, and its longest one in characters."""

    name: str
    filled: int = 0
    types: Counter[str] = field(default_factory=Counter)
    values: ValueCounts = field(default_factory=ValueCounts)
    longest: int = 0

    def add(self, value: Any) -> None:
        """Count the value of one row; null and blanks fill nothing."""
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        if value is None or not text.strip():
            return
        self.filled += 1
        kind = type(value).__name__
        self.types["number" if kind == "str" and NUMBER.fullmatch(value) else kind] += 1
        self.longest = max(self.longest, len(text))
        self.values.add(text)

    @property
    def is_nested(self) -> bool:
        """Whether most of its values are lists or objects."""
        return self.types["list"] + self.types["dict"] > self.filled / 2

    @property
    def is_text(self) -> bool:
        """Whether most of its values are text."""
        return self.types["str"] > self.filled / 2


@dataclass(slots=True)
class TableProfile:
    """The rows of some files: how many, their columns, the faults by reason, and a fair sample."""

    rows: int = 0
    columns: dict[str, ColumnProfile] = field(default_factory=dict)
    inner: dict[str, ColumnProfile] = field(default_factory=dict)  # what objects hold, by paths such as translation.de
    faults: Counter[str] = field(default_factory=Counter)
    first_faults: dict[str, Fault] = field(default_factory=dict)
    whole: ValueCounts = field(default_factory=ValueCounts)
    sample: list[Columns] = field(default_factory=list)
    capacity: int = SAMPLED
    chars: int = 0

    def add_rows(self, rows: Iterator[Row | Fault]) -> None:
        """Count the rows of one more file."""
        for row in rows:
            if isinstance(row, Fault):
                self.faults[row.reason] += 1
                self.first_faults.setdefault(row.reason, row)
            else:
                self._add_row(row.columns)

    def _add_row(self, columns: Columns) -> None:
        self.rows += 1
        for name, value in columns.items():
            _add_value(self.columns, name, value)
            for key in value if isinstance(value, dict) and len(self.inner) < MOST_INNER else ():
                _add_value(self.inner, f"{name}.{key}", value[key])
        self.whole.add(repr(columns))
        if len(self.sample) < self.capacity:
            self._keep(columns)
        elif (place := xxhash.xxh3_64_intdigest(str(self.rows).encode()) % self.rows) < self.capacity:
            self.chars -= _count_chars(self.sample[place])
            self.sample[place] = self.sample[-1]
            self.sample.pop()
            self._keep(columns)

    def _keep(self, columns: Columns) -> None:
        """Put a row into the sample; where its texts fill too much memory, the sample has fewer rows from now on."""
        self.sample.append(columns)
        self.chars += _count_chars(columns)
        while self.chars > SAMPLED_CHARS and len(self.sample) > 1:
            self.sample = self.sample[::2] if len(self.sample) > 2 else self.sample[:1]
            self.capacity = len(self.sample)
            self.chars = sum(map(_count_chars, self.sample))

    def open_objects(self) -> "TableProfile":
        """The table with what its objects hold in place of them."""
        flat = {name: column for name, column in self.columns.items() if not column.types["dict"]}
        return replace(self, columns=flat | self.inner, sample=[open_paths(row, self.inner) for row in self.sample])

    def holds_chats(self, name: str) -> bool:
        """Whether a column holds lists of messages."""
        first = next((row[name] for row in self.sample if row.get(name)), None)
        return isinstance(first, list) and detect_format({"messages": first}) == "chatml"

    @property
    def copies(self) -> int:
        """How many rows are exact copies of others, about."""
        return max(0, self.rows - round(self.rows / max(1.0, self.whole.repeats)))


def _add_value(columns: dict[str, ColumnProfile], name: str, value: Any) -> None:
    profile = columns.get(name)
    if profile is None:
        profile = columns[name] = ColumnProfile(name)
    profile.add(value)


def _count_chars(columns: Columns) -> int:
    """About how many characters a row has."""
    return sum(len(value) if isinstance(value, str) else len(repr(value)) for value in columns.values())
