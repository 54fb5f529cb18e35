"""From a file of raw data to its rows, each a dict of columns: nothing is guessed, and nothing is lost.

What is wrong with one row becomes a `Fault` that carries the row; what is wrong with a whole file is a `Stop`.
"""

import codecs
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from tunelock.reading.cwe import read_cwe_rows
from tunelock.reading.json_rows import read_json_rows, read_jsonl_rows
from tunelock.reading.rows import SHOWN, SURROGATE, Fault, Rest, Row, quote_row, read_numbered_lines
from tunelock.reading.sources import RawFile
from tunelock.reading.table_rows import read_csv_rows, read_parquet_rows
from tunelock.run.errors import Stop

Progress = Callable[[int], object]
UNICODE_MARKS = {  # those of UTF-32 first, as the others begin one of them
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
ZEROS = {(1, 2, 3): "utf-32-le", (0, 1, 2): "utf-32-be", (1, 3): "utf-16-le", (0, 2): "utf-16-be"}  # bytes in each four


def read_rows(
    file: RawFile, encoding: str | None, delimiter: str | None, chunk_chars: int, progress: Progress
) -> Iterator[Row | Fault]:
    """Yield the rows of a file by its suffix; `progress` is told of each block of bytes that was read.

    Raises:
        Stop: the file as a whole is damaged, empty, or in another encoding or with another delimiter.
    """
    with file.open() as raw:
        if file.suffix in (".parquet", ".xml"):  # binary, or with an encoding of its own
            yield from (read_parquet_rows if file.suffix == ".parquet" else read_cwe_rows)(raw, file.name)
            return
        stream, repairs = _decode_stream(raw, file.name, encoding, progress)
        match file.suffix:
            case ".csv" | ".tsv":
                rows = read_csv_rows(stream, file.name, delimiter, "\t" if file.suffix == ".tsv" else ",")
            case ".json":
                rows = read_json_rows(stream, file.name)
            case ".jsonl" | ".ndjson":
                rows = read_jsonl_rows(stream, file.name)
            case _:
                rows = _read_text_rows(stream, chunk_chars)
        yield from _note_repairs(rows, file.name, repairs)


def _note_repairs(rows: Iterator[Row | Fault], name: str, repairs: tuple[str, ...]) -> Iterator[Row | Fault]:
    """The rows, the file's own repairs noted on the first that is no fault; a file without any stops."""
    found = None
    for found in rows:
        if repairs and isinstance(found, Row):
            yield found._replace(repairs=repairs)
            break
        yield found
    if found is None:
        raise Stop(f"{name} holds no rows; remove it or put its rows back.")
    yield from rows


def _decode_stream(
    raw: BinaryIO, name: str, encoding: str | None, progress: Progress
) -> tuple[io.BufferedReader, tuple[str, ...]]:
    """A stream of UTF-8 bytes without byte-order mark, and the repairs this took."""
    stream = io.BufferedReader(raw, 2**20) if isinstance(raw, io.RawIOBase) else raw
    head = stream.read(64)
    text: io.BufferedReader = io.BufferedReader(Rest(head, stream, progress), 2**20)
    repairs = ("byte_order_mark",) if head.startswith(codecs.BOM_UTF8) else ()
    text.read(len(codecs.BOM_UTF8) if repairs else 0)
    if encoding:
        return io.BufferedReader(_Recoded(text, encoding, name), 2**20), repairs
    if wide := _detect_wide_encoding(head):
        raise Stop(f"{name} is in {wide[:6].upper()}; add `encoding: {wide}` to its source.")
    return text, repairs


def _detect_wide_encoding(head: bytes) -> str | None:
    """The form of UTF-16 or UTF-32 that a text begins in, by its mark or by where its zero bytes stand."""
    marked = next(filter(head.startswith, UNICODE_MARKS), None)
    if marked:
        return UNICODE_MARKS[marked]
    zeros = [head[place::4].count(0) for place in range(4)]
    for places, name in ZEROS.items():
        inside = [zeros[place] for place in places]
        outside = [zeros[place] for place in range(4) if place not in places]
        if min(inside) > max(len(head) // 16, 4 * max(outside)):
            return name
    return None


class _Recoded(io.RawIOBase):
    """A stream in another encoding as UTF-8 bytes; what cannot be decoded becomes U+FFFD, which the cleaning sees."""

    def __init__(self, stream: BinaryIO, encoding: str, name: str):
        try:
            self.text = io.TextIOWrapper(stream, encoding, "replace", newline="")
        except LookupError:
            raise Stop(f"{name}: there is no encoding '{encoding}'; write utf-16, latin-1 or the like.") from None
        self.encoding, self.name, self.block, self.at_start = encoding, name, b"", True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self.block = self.block or self.next_block()
        block, self.block = self.block[: len(buffer)], self.block[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)

    def next_block(self) -> bytes:
        try:
            text = self.text.read(2**16).encode()
        except UnicodeError as error:  # such as UTF-16 without a mark, which does not say the order of its bytes
            raise Stop(
                f"{self.name} is not in {self.encoding} ({error}); correct `encoding` (utf-16-le or utf-16-be "
                "where there is no byte-order mark)."
            ) from None
        text, self.at_start = text.removeprefix(codecs.BOM_UTF8) if self.at_start else text, False
        return text


def _read_text_rows(stream: BinaryIO, chunk_chars: int) -> Iterator[Row | Fault]:
    """A document as pieces of whole paragraphs, at most `chunk_chars` characters each if its paragraphs allow it."""
    piece, start, size = [], 1, 0
    for found in _read_paragraphs(stream):
        if isinstance(found, Fault):
            yield found
            continue
        line, paragraph = found
        if piece and size + len(paragraph) > chunk_chars:
            yield _make_text_row(start, "\n\n".join(piece))
            piece, size = [], 0
        start = start if piece else line
        piece.append(paragraph)
        size += len(paragraph) + 2
    if piece:
        yield _make_text_row(start, "\n\n".join(piece))


def _make_text_row(line: int, text: str) -> Row | Fault:
    reason = "nul" if "\0" in text else "invalid_utf8" if SURROGATE.search(text) else None
    return (
        Fault(line, reason, quote_row(text.encode(errors="surrogateescape"))) if reason else Row(line, {"text": text})
    )


def _read_paragraphs(stream: BinaryIO) -> Iterator[tuple[int, str] | Fault]:
    """What blank lines divide, with the line where each starts; bytes that are no UTF-8 become lone surrogates."""
    lines, start = [], 1
    for number, raw, whole in read_numbered_lines(stream):
        line = raw.decode(errors="surrogateescape").rstrip("\r\n")
        if whole and line.strip():
            start = start if lines else number
            lines.append(line)
            continue
        if lines:
            yield start, "\n".join(lines)
            lines = []
        if not whole:
            yield Fault(number, "line_too_long", quote_row(raw[:SHOWN]))
    if lines:
        yield start, "\n".join(lines)
