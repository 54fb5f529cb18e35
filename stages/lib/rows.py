"""What a reader yields: a row of columns, or a fault that carries the row which is none."""

from typing import NamedTuple

SHOWN = 2000  # characters of a bad row that are kept


class Row(NamedTuple):
    """One row; `line` is where it starts, or its number in formats without lines."""

    line: int
    columns: dict
    repairs: tuple[str, ...] = ()


class Fault(NamedTuple):
    """A row that is no row, with its reason and (the beginning of) its text."""

    line: int
    reason: str
    raw: str
    status: str = "set_aside"


class Unfit(ValueError):
    """What is wrong with one row, in one word."""


def shown(raw: bytes | str) -> str:
    """The beginning of a bad row as text that can be written again; bytes that are no UTF-8 as \\xNN."""
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    return text.strip("\r\n")[:SHOWN].encode(errors="backslashreplace").decode()
