"""From a file of raw data to its rows, each a dict of columns: nothing is guessed, and nothing is lost.

What is wrong with one row becomes a `Fault` that carries the row; what is wrong with a whole file is a `Stop`.
"""

import codecs
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from stages.lib.cwe import cwe_rows
from stages.lib.errors import Stop
from stages.lib.json_rows import MAX_LINE, json_rows, jsonl_rows
from stages.lib.rows import Fault, Row, shown
from stages.lib.sources import RawFile
from stages.lib.table_rows import csv_rows, parquet_rows

Progress = Callable[[int], object]
UNICODE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_rows(
    file: RawFile, encoding: str | None, delimiter: str | None, chunk_chars: int, progress: Progress
) -> Iterator[Row | Fault]:
    """Yield the rows of a file by its suffix; `progress` is told of each block of bytes that was read.

    Raises:
        Stop: the file as a whole is damaged, empty, or in another encoding or with another delimiter.
    """
    with file.open() as raw:
        if file.suffix in (".parquet", ".xml"):  # binary, or with an encoding of its own
            yield from (parquet_rows if file.suffix == ".parquet" else cwe_rows)(raw, file.name)
            return
        stream, repairs = decoded(raw, file.name, encoding, progress)
        match file.suffix:
            case ".csv" | ".tsv":
                rows = csv_rows(stream, file.name, delimiter or ("\t" if file.suffix == ".tsv" else ","))
            case ".json":
                rows = json_rows(stream, file.name)
            case ".jsonl" | ".ndjson":
                rows = jsonl_rows(stream)
            case _:
                rows = text_rows(stream, chunk_chars)
        yield from marked(rows, file.name, repairs)


def marked(rows: Iterator[Row | Fault], name: str, repairs: tuple[str, ...]) -> Iterator[Row | Fault]:
    """The rows, the file's own repairs noted on the first; a file without any stops."""
    first = next(rows, None)
    if first is None:
        raise Stop(f"{name} holds no rows; remove it or put its rows back.")
    yield first._replace(repairs=repairs) if repairs and isinstance(first, Row) else first
    yield from rows


def decoded(raw: BinaryIO, name: str, encoding: str | None, progress: Progress) -> tuple[BinaryIO, tuple[str, ...]]:
    """A stream of UTF-8 bytes without byte-order mark, and the repairs this took."""
    stream = io.BufferedReader(raw, 2**20) if isinstance(raw, io.RawIOBase) else raw
    head = stream.read(64)
    stream = io.BufferedReader(Rest(head, stream, progress), 2**20)
    if encoding:
        try:
            return io.BufferedReader(Recoded(codecs.getreader(encoding)(stream))), ()
        except LookupError:
            raise Stop(f"{name}: there is no encoding '{encoding}'; write utf-16, latin-1 or the like.") from None
    if head.startswith(UNICODE_MARKS) or head.count(0) > len(head) // 4:
        raise Stop(f"{name} is in UTF-16 or UTF-32; add `encoding: utf-16` (or utf-32) to its source.")
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
        return stream, ("byte_order_mark",)
    return stream, ()


class Rest(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: BinaryIO, progress: Progress):
        self.head, self.stream, self.progress = head, stream, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        block, self.head = (self.head[: len(buffer)], self.head[len(buffer) :])
        block = block or self.stream.read(len(buffer))
        buffer[: len(block)] = block
        self.progress(len(block))
        return len(block)


class Recoded(io.RawIOBase):
    """A text stream as UTF-8 bytes; what cannot be decoded becomes U+FFFD, which the cleaning sees."""

    def __init__(self, reader: codecs.StreamReader):
        reader.errors = "replace"
        self.head, self.reader = b"", reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if not self.head:
            self.head = self.reader.read(2**16).encode(errors="surrogateescape").removeprefix(codecs.BOM_UTF8)
        block, self.head = self.head[: len(buffer)], self.head[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)


def text_rows(stream: BinaryIO, chunk_chars: int) -> Iterator[Row | Fault]:
    """A document as pieces of whole paragraphs, at most `chunk_chars` characters each if its paragraphs allow it."""
    piece, start, size = [], 1, 0
    for line, paragraph in paragraphs(stream):
        if piece and size + len(paragraph) + 2 > chunk_chars:
            yield text_row(start, "\n\n".join(piece))
            piece, size = [], 0
        start = start if piece else line
        piece.append(paragraph)
        size += len(paragraph) + 2
    if piece:
        yield text_row(start, "\n\n".join(piece))


def text_row(line: int, text: str) -> Row | Fault:
    return Fault(line, "nul", shown(text)) if "\0" in text else Row(line, {"text": text})


def paragraphs(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """What blank lines divide, with the line where each starts; bytes that are no UTF-8 become U+FFFD."""
    lines, start = [], 1
    for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1):
        line = raw.decode(errors="replace").rstrip("\r\n")
        if line.strip():
            start = start if lines else number
            lines.append(line)
        elif lines:
            yield start, "\n".join(lines)
            lines = []
    if lines:
        yield start, "\n".join(lines)
