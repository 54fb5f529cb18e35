"""What a reader yields: a row of columns, or a fault that carries the row which is none."""

import io
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

SHOWN = 2000  # characters of a bad row that are kept
MAX_LINE = 8 * 2**20  # bytes; a million tokens, more than any context window takes
SURROGATE = re.compile("[\ud800-\udfff]")


Columns = dict[str, Any]  # one row by the names of its columns; any value of JSON


class Row(NamedTuple):
    """One row; `line` is where it starts, or its number in formats without lines."""

    line: int
    columns: Columns
    repairs: tuple[str, ...] = ()


class Fault(NamedTuple):
    """A row that is no row, with its reason and (the beginning of) its text."""

    line: int
    reason: str
    raw: str
    status: str = "set_aside"


class Unfit(ValueError):
    """What is wrong with one row, in one word, and the column that it is about: `not_text 'answer'`."""

    def __init__(self, reason: str, column: str | None = None):
        super().__init__(f"{reason} '{column}'" if column else reason)
        self.reason, self.column = reason, column


class _NumberedLine(NamedTuple):
    """A line of a file, from 1; `whole` is False where only the beginning of a line above MAX_LINE is here."""

    number: int
    content: bytes
    whole: bool


class Rest(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: BinaryIO, progress: Callable[[int], object] | None = None):
        self.head, self.stream, self.progress = head, stream, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        block, self.head = (self.head[: len(buffer)], self.head[len(buffer) :])
        block = block or self.stream.read(len(buffer))
        buffer[: len(block)] = block
        if self.progress:
            self.progress(len(block))
        return len(block)


def read_numbered_lines(stream: BinaryIO, first: int = 1) -> Iterator[_NumberedLine]:
    """Yield each line, which ends at a newline and nowhere else, numbered from `first`.

    The rest of a line above `MAX_LINE` is passed over, so that it fills no memory.
    """
    for number in itertools.count(first):
        line = stream.readline(MAX_LINE + 1)
        if not line:
            return
        whole = len(line) <= MAX_LINE or line.endswith(b"\n")
        yield _NumberedLine(number, line, whole)
        while not whole and (rest := stream.readline(MAX_LINE)):
            whole = rest.endswith(b"\n")


def quote_row(raw: bytes | str) -> str:
    """The beginning of a bad row as text that can be written again; bytes that are no UTF-8 as \\xNN."""
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    return text.strip("\r\n")[:SHOWN].encode(errors="backslashreplace").decode()
