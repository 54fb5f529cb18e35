"""The text of a log, as it reads in a file."""

from collections.abc import Iterable, Iterator


def join_bars(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines; of one that a bar wrote over and over by carriage returns, what it was last."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield _keep_last(line) + b"\n"
        rest = _keep_last(rest, whole=False)
    if rest:
        yield _keep_last(rest)


def _keep_last(line: bytes, whole: bool = True) -> bytes:
    """What stands behind the last carriage return that something follows."""
    end = b"\r" if line.endswith(b"\r") and not whole else b""
    return line.rstrip(b"\r").rpartition(b"\r")[2] + end
