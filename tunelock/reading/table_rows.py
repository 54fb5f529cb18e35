"""Tables as rows: CSV and TSV with a header line (RFC 4180), and Parquet."""

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, BinaryIO

from tunelock.reading.rows import SURROGATE, Fault, Row, quote_row
from tunelock.reading.strict_json import walk_strings
from tunelock.run.errors import Stop

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CELL = 8 * 2**20  # characters
EXCEL_LINE = re.compile(rb'"?sep=(.)"?(?:\r\n|\r|\n)')  # what Excel takes the delimiter from
PROBED_CELLS = 1000  # rows that say whether a column has whole numbers
WHOLE = re.compile(r"-?(?:0|[1-9]\d*)\.0")


def read_csv_rows(stream: io.BufferedReader, name: str, declared: str | None, usual: str) -> Iterator[Row | Fault]:
    """Rows of a table with a header (RFC 4180); all cells are text, "NA" and "null" included.

    The delimiter is the one that the source declares, else that of Excel's first line `sep=;`, else the usual one.

    A column in which each number ends in .0 is one of whole numbers, so that 2019.0 is 2019 as in any other file:
    pandas writes them so, and makes them so where a column has a hole.
    """
    rows = _read_text_cells(stream, name, declared, usual)
    probe = list(islice(rows, PROBED_CELLS))
    whole = _find_whole_columns([row.columns for row in probe if isinstance(row, Row)])
    for row in chain(probe, rows):
        if isinstance(row, Row):
            for column in whole:
                if WHOLE.fullmatch(row.columns[column]):
                    row.columns[column] = row.columns[column].removesuffix(".0")
        yield row


def _find_whole_columns(rows: list[dict[str, str]]) -> list[str]:
    """The columns whose cells are empty or numbers that end in .0."""
    found = []
    for column in rows[0] if rows else ():
        cells = [row[column] for row in rows if row[column]]
        if cells and all(map(WHOLE.fullmatch, cells)):
            found.append(column)
    return found


def _read_text_cells(stream: io.BufferedReader, name: str, declared: str | None, usual: str) -> Iterator[Row | Fault]:
    """Rows of a table as its cells stand there."""
    excel = EXCEL_LINE.match(stream.peek(16)[:16])
    if excel:
        stream.read(excel.end())
    delimiter = declared or (excel[1].decode(errors="replace") if excel else usual)
    lines = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    csv.field_size_limit(MAX_CELL)
    before = 1 if excel else 0  # lines that the reader does not count
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    except TypeError:
        raise Stop(f'{name}: {delimiter!r} is no delimiter; set one character, a tab as "\\t".') from None
    opened = before + 1
    try:
        header = next(reader, None)
        if not header:
            raise Stop(f"{name} has no header line; add one with the names of its columns.")
        _check_header(header, name, delimiter)
        opened = before + reader.line_num + 1
        for cells in reader:
            if cells:
                yield _make_csv_row(opened, header, cells)
            opened = before + reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise Stop(
                f"{name}:{opened}: a cell of the row that starts here is larger than {MAX_CELL >> 20} MiB; close "
                "its quotes, or cut the text into several rows."
            ) from None
        raise Stop(f"{name}:{opened}: the row that starts here is no CSV ({error}); close its quotes.") from None


def _check_header(header: list[str], name: str, delimiter: str | None = None) -> None:
    """Stop at a header that was cut by the wrong delimiter or names a column twice."""
    if SURROGATE.search("".join(header)):
        raise Stop(f"{name}:1: the header is not UTF-8; add `encoding: latin-1` or the like to its source.")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise Stop(f"{name}:1: the column '{twice[0]}' is there twice; rename one of them.")
    others = [other for other in ",;\t|" if other != delimiter and other in header[0]] if delimiter else []
    if len(header) == 1 and others:
        raise Stop(f"{name}:1: with {delimiter!r} there is one column, '{header[0]}'; set `delimiter: {others[0]!r}`.")


def _make_csv_row(line: int, header: list[str], cells: list[str]) -> Row | Fault:
    joined = "".join(cells)
    reason = None
    if len(cells) != len(header):
        reason = "row_too_short" if len(cells) < len(header) else "row_too_long"
    elif "\0" in joined:
        reason = "nul"
    elif not joined.isascii() and SURROGATE.search(joined):
        reason = "invalid_utf8"
    return Fault(line, reason, quote_row(json.dumps(cells))) if reason else Row(line, dict(zip(header, cells)))


def _shorten_floats(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Numbers of 32 bits as the shortest ones that they are: 0.1, which is 0.10000000149011612 in 64 bits."""
    import pyarrow as pa

    for place, column in enumerate(batch.schema):
        if column.type == pa.float32():
            shortest = batch.column(place).cast(pa.string()).cast(pa.float64())
            batch = batch.set_column(place, column.name, shortest)
    return batch


def read_parquet_rows(raw: BinaryIO, name: str) -> Iterator[Row | Fault]:
    """Rows of a Parquet file, by number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if raw.read(1) in (b"{", b"["):
        raise Stop(f"{name} is JSON under another name; call it .jsonl or .json.")
    raw.seek(0)
    number = 0
    try:
        file = pq.ParquetFile(raw)
        _check_header(file.schema_arrow.names, name)
        for batch in file.iter_batches(batch_size=1000):
            for columns in _shorten_floats(batch).to_pylist():
                number += 1
                has_nul = any("\0" in text for text in walk_strings(columns))
                yield Fault(number, "nul", quote_row(repr(columns))) if has_nul else Row(number, columns)
    except pa.ArrowNotImplementedError as error:
        raise Stop(
            f"{name}: a column has a layout of Parquet that pyarrow does not read, after row {number} "
            f"({_first_line(error)}); write it with a smaller row_group_size, or as JSON lines."
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Stop(f"{name}: damaged Parquet after row {number} ({_first_line(error)}); fetch it again.") from None
    if not number:
        raise Stop(f"{name} holds no rows; remove it or put its rows back.")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
