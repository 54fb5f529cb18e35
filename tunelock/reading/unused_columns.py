"""Columns that no template and no format uses: what they hold, and whether answers may depend on it."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tunelock.reading.contexts import is_blank, names_context, reads_as_text
from tunelock.reading.rows import Columns
from tunelock.reading.strict_json import walk_strings
from tunelock.records.record import Message
from tunelock.run.errors import Stop

LONG = 100  # bytes of UTF-8 in the mean, about two lines: a title or a comment of a few words is shorter
FEW = 0.05  # share of the rows; a column that is filled in fewer is told and stops nothing
LOOKED_AT = 2000  # values of a column that are looked at; the others are counted
SAMPLE = 60  # characters of a value that are shown
MOST_SHOWN = 8


class UnusedColumn(NamedTuple):
    """A column that becomes no part of a record; `why` says why answers may depend on it, None if nothing does."""

    name: str
    rows: int
    sample: str
    why: str | None


@dataclass(slots=True)
class _Tally:
    """What stands in one column."""

    rows: int = 0
    looked_at: int = 0
    texts: int = 0
    size: int = 0  # bytes of the texts
    copies: int = 0  # texts that stand in the record as well, or have the record in them
    differs: bool = False
    first: Any = None

    def note_value(self, value: Any, messages: list[Message]) -> None:
        self.rows += 1
        if self.rows > LOOKED_AT:
            return
        self.looked_at += 1
        self.first = value if self.rows == 1 else self.first
        self.differs = self.differs or value != self.first
        text = max(walk_strings(value), key=len, default="")
        if reads_as_text(text):
            self.texts += 1
            self.size += len(text.encode(errors="surrogatepass"))
            self.copies += _repeats(text, messages)


def _repeats(text: str, messages: list[Message]) -> bool:
    """Whether a text is a copy of a message, or of all of them, as the `text` beside Alpaca's columns is."""
    text = _fold_blanks(text)
    if any(text in _fold_blanks(message["content"]) for message in messages):
        return True
    paragraphs = "\n\n".join(message["content"] for message in messages).split("\n\n")
    return all(_fold_blanks(paragraph) in text for paragraph in paragraphs)


def _fold_blanks(text: str) -> str:
    return " ".join(text.split())


@dataclass(slots=True)
class ColumnWatch:
    """Looks at the rows of one source, one by one, and at those of their columns that nothing uses."""

    rows: int = 0
    tallies: defaultdict[str, _Tally] = field(default_factory=lambda: defaultdict(_Tally))

    def note_row(self, columns: Columns, used: frozenset[str], messages: list[Message]) -> None:
        self.rows += 1
        for name in columns:
            if name not in used and not is_blank(columns[name]):
                self.tallies[name].note_value(columns[name], messages)

    def list_unused(self) -> list[UnusedColumn]:
        """The unused columns that hold something, those that answers may depend on first."""
        found = []
        for name, tally in sorted(self.tallies.items()):
            found.append(UnusedColumn(name, tally.rows, _shorten(tally.first), _find_reason(name, tally, self.rows)))
        return sorted(found, key=lambda column: column.why is None)


def _find_reason(name: str, tally: _Tally, rows: int) -> str | None:
    """Why answers may depend on a column, or None: an id, a date, a score, a copy, the same text in every row."""
    few = tally.rows < FEW * rows
    if few or tally.copies * 2 > tally.texts:
        return None
    if names_context(name) and (tally.texts * 2 >= tally.looked_at or not isinstance(tally.first, str | int | float)):
        return "named like a context"
    long = tally.texts * 2 >= tally.looked_at and tally.size >= LONG * tally.texts
    return "long text that differs from row to row" if long and tally.differs else None


def _shorten(value: Any) -> str:
    text = _fold_blanks(value if isinstance(value, str) else repr(value))
    return text if len(text) <= SAMPLE else f"{text[:SAMPLE]}…"


def list_as_dicts(columns: list[UnusedColumn]) -> list[dict[str, Any]]:
    """The unused columns as JSON has them."""
    return [column._asdict() for column in columns]


def describe_unused(columns: list[UnusedColumn]) -> str:
    """The unused columns of a source at the end of a sentence, empty where there are none."""
    if not columns:
        return ""
    shown = ", ".join(f"{column.name!r} ({column.sample})" for column in columns[:MOST_SHOWN])
    more = f" and {len(columns) - MOST_SHOWN} more" if columns[MOST_SHOWN:] else ""
    return f", columns that nothing uses: {shown}{more}"


def refuse_unused_contexts(unused: dict[str, list[UnusedColumn]]) -> None:
    """Stop at columns that answers may depend on and that no template and no format uses."""
    for source, columns in unused.items():
        if doubtful := [column for column in columns if column.why]:
            listed = "; ".join(f"'{column.name}' ({column.why}), such as {column.sample!r}" for column in doubtful)
            names = ", ".join(column.name for column in doubtful)
            raise Stop(
                f"source '{source}' has columns that no template and no format uses, and answers may depend on them: "
                f"{listed}. Bring them in by `columns`, such as context: '{{{doubtful[0].name}}}', or say that they do "
                f"not matter: `ignore_columns: [{names}]`."
            )
