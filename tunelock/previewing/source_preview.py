"""What raw data would become: formats by file, rows that are left out, lengths, records as the model sees them."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelock.previewing.length_histogram import Lengths, summarise_lengths_of_rows
from tunelock.previewing.reasons import Reason, explain_reason
from tunelock.previewing.row_choice import RowChoice
from tunelock.previewing.shown_rows import Example, Looking, make_example
from tunelock.reading.reading import look_at_source, read_file_records
from tunelock.reading.shape import Source
from tunelock.reading.sources import find_files
from tunelock.reading.unused_columns import list_as_dicts
from tunelock.records.markup import describe_markup
from tunelock.records.record import LeftOutRow, Record, whole_text_of
from tunelock.rendering.row_lengths import measure_row_lengths
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path
from tunelock.run.spelling import suggest_name

EXAMPLES = 3  # rows that are shown where nothing is asked for
MOST_ROWS = 10_000  # rows that are read, so that a large file answers at once
MEASURED = 1000  # rows whose tokens are counted
RAW_SHOWN = 160  # characters of a row that is left out
LISTED = 12  # tasks that are named where one is not found


@dataclass(frozen=True, slots=True)
class LeftOutReason:
    """How many rows are left out for a reason, the reason in words, the param that rules it, and the first such row."""

    reason: str
    rows: int
    words: str
    ruled_by: str | None
    example: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The format by file, how many rows are records, which are left out and why, unused columns, lengths, and rows."""

    formats: dict[str, str]
    records: int
    left_out: dict[str, int]
    reasons: list[LeftOutReason]
    unused: list[dict[str, Any]]
    lengths: list[Lengths]
    examples: list[Example]
    more_rows: bool = False  # than were read
    more_examples: int = 0  # rows that were asked for and are not shown
    markup: str | None = None  # what to say of answers that hold HTML


def make_source(path: str, revision: str | None, **options: Any) -> Source:
    """A source as the command line describes it: who only looks at a local file need not pin it."""
    if revision is None and Path(path).exists():
        revision = sha256_path(path)
    return Source(path=path, revision=revision, **options)


def preview_source(name: str, source: Source, looking: Looking, choice: RowChoice, most: int) -> Preview:
    """Read the first rows of a source, and the rows that are asked for wherever they stand.

    Args:
        name: of the source, of which ids begin with it; UNNAMED for what is none yet.

    Raises:
        Stop: none of the rows that are asked for is there.
    """
    first = look_at_source(source, MOST_ROWS + 1, name)
    rows = first.rows[:MOST_ROWS]
    records: list[Record] = [row for row in rows if "status" not in row]
    chosen = list(filter(choice.takes, records if choice.is_open else rows))
    if not choice.is_open and len(first.rows) > MOST_ROWS:
        chosen = list(itertools.islice(_find_rows(name, source, choice), most + 1))
    if not choice.is_open and not chosen:
        raise Stop(_describe_absence(source, choice, rows))
    left_out = [row for row in rows if "status" in row]
    return Preview(
        formats=first.formats,
        records=len(records),
        left_out=dict(sorted(Counter(row["reason"] for row in left_out).items())),
        reasons=list_reasons(left_out, looking.params),
        unused=list_as_dicts(first.unused),
        lengths=_measure_lengths(records, looking),
        examples=[make_example(row, looking) for row in chosen[:most]],
        more_rows=len(first.rows) > MOST_ROWS,
        more_examples=0 if choice.is_open else max(0, len(chosen) - most),
        markup=describe_markup(records),
    )


def _find_rows(name: str, source: Source, choice: RowChoice) -> Iterator[Record | LeftOutRow]:
    """The rows of a source that are asked for, read no further than need be."""
    for file in find_files(source.path, source.revision):
        for row in read_file_records(name, source, file, lambda _read: None):
            if choice.last_row is not None and row["line"] > choice.last_row:
                break
            if choice.takes(row):
                yield row


def _describe_absence(source: Source, choice: RowChoice, rows: list[Record | LeftOutRow]) -> str:
    """That no row is as asked for, and what there is."""
    said = f"no row of {source.path} is {choice}"
    if choice.task is not None:
        tasks = sorted({row["task"] for row in rows if "task" in row})
        listed = ", ".join(tasks[:LISTED]) + (", …" if tasks[LISTED:] else "")
        return f"{said}{suggest_name(choice.task, tasks)} Its tasks are {listed}."
    if choice.ranges and rows:
        return f"{said}; its rows are {min(row['line'] for row in rows)} to {max(row['line'] for row in rows)}."
    return f"{said}."


def list_reasons(rows: Iterable[Any], params: dict[str, Any]) -> list[LeftOutReason]:
    """The reasons for which rows are left out, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for row in rows:
        counts[row["reason"]] += 1
        examples.setdefault(row["reason"], f"{row['file']}:{row['line']}: {_quote_beginning(row)}")
    found = []
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        explained: Reason = explain_reason(reason, params)
        found.append(LeftOutReason(reason, count, *explained, examples[reason]))
    return found


def _quote_beginning(row: Any) -> str:
    """The beginning of a row that is left out, on one line."""
    text = " ".join((row["raw"] if "raw" in row else whole_text_of(row)).split())
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= RAW_SHOWN else f"{text[:RAW_SHOWN]}…"


def _measure_lengths(records: list[Record], looking: Looking) -> list[Lengths]:
    """Lengths in characters, and in tokens where there is a tokenizer that can say the rows."""
    found = [summarise_lengths_of_rows("characters", (len(whole_text_of(record)) for record in records), None)]
    if looking.tokenizer is not None and records:
        try:
            measured = measure_row_lengths(records[:MEASURED], looking.tokenizer, looking.rendering, "the rows")
        except Stop:  # the examples say why
            return [lengths for lengths in found if lengths]
        found.append(summarise_lengths_of_rows("tokens", measured.lengths, looking.rendering.max_length))
    return [lengths for lengths in found if lengths]
