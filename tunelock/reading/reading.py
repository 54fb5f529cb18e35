"""From a source of `params.yaml` to records: its files, their rows, the format, and what is set aside."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from tunelock.reading.local_files import RAW
from tunelock.reading.pieces import cut_text
from tunelock.reading.readers import Progress, read_rows
from tunelock.reading.rows import Fault, Row, Unfit, quote_row
from tunelock.reading.shape import Source, find_shape, read_messages
from tunelock.reading.sources import RawFile, find_files
from tunelock.reading.unused_columns import ColumnWatch, UnusedColumn
from tunelock.reading.values import fill_key, open_paths
from tunelock.records.record import (
    LeftOutRow,
    Message,
    Record,
    cut_trailing_question,
    fold_text,
    hash_texts,
    make_record,
    replace_texts,
)
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop

UNPACKED = 5  # bytes that a compressed byte becomes, about; only the progress bar believes it
PROBED = 1000  # rows of a file that decide on its format
DOCUMENTS = (".txt", ".md")  # a file is one text; elsewhere each row is


def read_source(
    name: str, source: Source, watched: str = RAW, watch: ColumnWatch | None = None
) -> Iterator[Record | LeftOutRow]:
    """Yield a record, or a row that is left out, for each row of each file of a source.

    A local file outside the folder `watched` needs a revision, for DVC would not see it change. `watch` is shown the
    rows that become records, with the columns of them that are used.
    """
    files = find_files(source.path, source.revision, watched=watched)
    with Bar(total=sum(map(_expect_bytes, files)), unit="B", desc=f"read {name}") as bar:
        for file in files:
            before = bar.n
            yield from read_file_records(name, source, file, bar.update, watch)
            if bar.n == before:  # Parquet and XML are read as a whole
                bar.update(_expect_bytes(file))
            bar.total += bar.n - before - _expect_bytes(file)
            bar.refresh()


def _expect_bytes(file: RawFile) -> int:
    """About how many bytes will be read from a file."""
    return file.size * (UNPACKED if "!" in file.name or file.name.endswith((".gz", ".zst")) else 1)


class _FirstRows(NamedTuple):
    """The format of each file of a source, what becomes of its first rows, and which columns nothing uses."""

    formats: dict[str, str]
    rows: list[Record | LeftOutRow]
    unused: list[UnusedColumn]


def look_at_source(source: Source, limit: int, name: str = "preview") -> _FirstRows:
    """Read the first rows of a source, at most `limit` in all."""
    kinds, rows, watch = {}, [], ColumnWatch()
    for file in find_files(source.path, source.revision):
        probe = _read_rows_of(source, file, _ignore_progress)
        kinds[file.name] = find_shape(source, file.name, list(islice(probe, PROBED))).describe(source)
        rows += islice(read_file_records(name, source, file, _ignore_progress, watch), limit - len(rows))
    return _FirstRows(kinds, rows, watch.list_unused())


def _ignore_progress(_read: int) -> None:
    """No progress to show."""


def _read_rows_of(source: Source, file: RawFile, progress: Progress) -> Iterator[Row | Fault]:
    """The rows of a file, their objects opened as far as the templates of the source ask for it."""
    paths = source.paths()
    for row in read_rows(file, source.encoding, source.delimiter, source.chunk_chars, progress):
        yield row._replace(columns=open_paths(row.columns, paths)) if paths and isinstance(row, Row) else row


def read_file_records(
    name: str, source: Source, file: RawFile, progress: Progress, watch: ColumnWatch | None = None
) -> Iterator[Record | LeftOutRow]:
    """Yield a record, or a row that is left out, for each row of a file.

    Raises:
        Stop: the file is damaged, in no known format, or a row lacks the column of its group.
    """
    rows = _read_rows_of(source, file, progress)
    probe = list(islice(rows, PROBED))
    shape = find_shape(source, file.name, probe)
    for row in chain(probe, rows):
        if isinstance(row, Fault):
            yield _leave_out(name, file, row)
            continue
        try:
            messages = read_messages(source, shape, row.columns)
            yield from _make_records(name, source, file, row, messages)
        except Unfit as unfit:
            quoted = quote_row(json.dumps(row.columns, ensure_ascii=False, default=str))
            yield _leave_out(name, file, Fault(row.line, str(unfit), quoted))
            continue
        if watch:
            watch.note_row(row.columns, shape.used, messages)


def _make_records(name: str, source: Source, file: RawFile, row: Row, messages: list[Message]) -> Iterator[Record]:
    """Yield the record of one row, of a long text one a piece.

    Raises:
        Unfit: the row is no record.
    """
    text = messages[0]["content"] if messages[0]["role"] == "text" else None
    task = "chat" if text is None else "text"
    if source.task:
        task = fill_key(source.task, row.columns, "missing_task")
    group = _find_group(source, file, row, text)
    answered = cut_trailing_question(messages)
    repairs = [*row.repairs, *(["trailing_question"] if len(answered) < len(messages) else [])]
    for part in [answered] if text is None else _cut_messages(messages, source.chunk_chars):
        record = make_record(part, name, file.name, row.line, task, group, source.licence)
        if repairs:
            record["repairs"] = repairs
        yield record


def _cut_messages(messages: list[Message], size: int) -> list[list[Message]]:
    """A raw text in pieces."""
    return [replace_texts(messages, [part]) for part in cut_text(messages[0]["content"], size)]


def _find_group(source: Source, file: RawFile, row: Row, text: str | None) -> str | None:
    """What must stay in one split with this row: the pieces of one text, or what the source's template says."""
    if source.group is None:
        if text is None:
            return None
        return file.name if file.suffix in DOCUMENTS else f"{hash_texts(fold_text(text)):016x}"
    try:
        return fill_key(source.group, row.columns, "missing_group")
    except Unfit as unfit:
        why = "is empty" if unfit.column in row.columns else "is not there"
        why = why if unfit.reason == "missing_group" else "holds no text or number"
        raise Stop(
            f"{file.name}:{row.line}: no value for the group {source.group!r}, as the column '{unfit.column}' {why}; "
            "fill the column or drop `group`."
        ) from None


def _leave_out(name: str, file: RawFile, fault: Fault) -> LeftOutRow:
    """A row that is no record, as it is kept in set_aside.jsonl."""
    return {
        "source": name, "file": file.name, "line": fault.line, "reason": fault.reason, "raw": fault.raw,
        "status": fault.status,
    }  # fmt: skip
