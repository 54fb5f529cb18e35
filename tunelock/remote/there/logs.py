"""The log of a job: its last line of progress, its end, and the whole of it as it grows."""

import re
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

SILENCE = 120.0  # seconds without a sign of life
TOO_SILENT = 74  # EX_IOERR of sysexits.h
_POLL = 0.5  # seconds between two looks
_TAIL = 1 << 16  # bytes from the end in which the last lines are looked for
_NO_NEWS = ("Ran experiment(s)", "Experiment results have been applied")  # DVC's last words, of the clone
_STAGE = re.compile(r"Running stage '([^']+)':")


def summarise_log(log: Path) -> dict[str, str]:
    """`stage` and `last` (the last line) of a log, where it has them; no stage if the job itself spoke last."""
    lines = read_last_lines(log, 200)
    told = [line for line in lines if line.strip() and not line.startswith(_NO_NEWS)]
    between = not told or told[-1].startswith("job: ")
    stages = [] if between else [found[1] for line in lines if (found := _STAGE.search(line))]
    return ({"stage": stages[-1]} if stages else {}) | ({"last": told[-1][:300]} if told else {})


def read_last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a file, at most `count`; a line that a bar wrote over and over is as it was last."""
    if not log.exists():
        return []
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = file.read().decode(errors="replace")
    return [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")][-count - 1 :]


def follow_log(log: Path, lines: int | None, ended: Callable[[], bool], given: BinaryIO, out: BinaryIO) -> None:
    """Write the log, or its last lines, and what comes until the job ended or the other side went away.

    It went away if it closes its pipe, or gives no sign of life, a byte, for `SILENCE` seconds: a network that is gone
    would else be noticed hours later. The exit code is `TOO_SILENT` then.
    """
    position, heard = _find_start(log, lines), time.monotonic()
    while True:
        over = ended()
        position += _copy_from(log, position, out)
        if over:
            return
        while select.select([given], [], [], 0)[0]:
            if not given.read1(1):  # type: ignore[attr-defined]
                return
            heard = time.monotonic()
        if time.monotonic() - heard > SILENCE:
            sys.exit(TOO_SILENT)
        time.sleep(_POLL)


def _copy_from(log: Path, position: int, out: BinaryIO) -> int:
    """Write what stands behind a byte of the log; how many bytes."""
    if not log.exists():
        return 0
    copied = 0
    with open(log, "rb") as file:
        file.seek(position)
        while piece := file.read(_TAIL):
            out.write(piece)
            copied += len(piece)
    out.flush()
    return copied


def _find_start(log: Path, lines: int | None) -> int:
    """The byte at which the last `lines` lines begin; a bar that was written over and over is one line."""
    if lines is None or not log.exists():
        return 0
    with open(log, "rb") as file:
        size = start = file.seek(0, 2)
        ends = 0
        while start > 0:
            end, start = start, max(0, start - _TAIL)
            file.seek(start)
            piece = file.read(end - start)
            for place in _find_line_ends(piece):
                if start + place < size - 1:  # the end of the last line begins no other
                    ends += 1
                if ends == lines:
                    return start + place + 1
    return 0


def _find_line_ends(piece: bytes) -> Iterator[int]:
    """The places of the line ends, the last first."""
    place = piece.rfind(b"\n")
    while place >= 0:
        yield place
        place = piece.rfind(b"\n", 0, place)
