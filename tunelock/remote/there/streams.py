"""Objects of DVC's cache over a pipe: a line of JSON for each, then its bytes. Both sides use it.

What arrives is checked by its name, which is the md5 of its bytes, and gets its name at the very end, so that a lost
connection leaves no half of an object behind.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tunelock.remote.there.refusal import Refused

MARK = b"tunelock-answers\n"  # what the shell of the host prints before it is none of ours
_PIECE = 1 << 20  # bytes that are held at a time
_INCOMING = "incoming"  # the folder, below the cache, of objects that are not whole yet
SILENCE = 600  # seconds without a byte
_DAY = 86400  # seconds
_BROKEN = "the connection broke off while objects were sent; run the same command again, it goes on from there."
_NAMED = re.compile(r"files/md5/([0-9a-f]{2})/([0-9a-f]{30})(?:\.dir)?")
_RUN = re.compile(r"runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}")


def send_objects(cache: Path, paths: Iterable[str], out: BinaryIO, seen: Callable[[int], None]) -> int:
    """Write the objects and an empty line; how many bytes they have. `seen` gets the bytes of each piece."""
    sent = 0
    for path in paths:
        with open(cache / path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            out.write(json.dumps({"path": path, "size": size}).encode() + b"\n")
            left = size
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise Refused(f"{cache / path} became shorter while it was read; run the same command again.")
                out.write(piece)
                left -= len(piece)
                seen(len(piece))
        sent += size
    out.write(b"\n")
    out.flush()
    return sent


def receive_objects(cache: Path, stream: BinaryIO, seen: Callable[[int], None]) -> int:
    """Read objects until the empty line; how many bytes came.

    Raises:
        Refused: the stream broke off, or an object has other bytes than its name says.
    """
    came, incoming = 0, cache / _INCOMING
    incoming.mkdir(parents=True, exist_ok=True)
    _sweep(incoming)
    while (line := stream.readline()).endswith(b"\n"):
        if line == b"\n":
            return came
        head = json.loads(line)
        if "path" not in head:  # the sender met with an error
            raise Refused(head.get("refused") or f"{head.get('file')} there: {head.get('error')}; try again.")
        _receive_one(cache, head["path"], head["size"], stream, seen)
        came += head["size"]
    raise Refused(_BROKEN)


def _receive_one(cache: Path, path: str, size: int, stream: BinaryIO, seen: Callable[[int], None]) -> None:
    """Take one object in, under another name until it is whole."""
    named = _NAMED.fullmatch(path)
    if not named and not _RUN.fullmatch(path):
        raise Refused(f"'{path}' is no object of a DVC cache.")
    target = cache / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = cache / _INCOMING / f"{target.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        digest = _write_piecewise(partial, size, stream, seen)
        if named and digest != named[1] + named[2]:
            raise Refused(
                f"{path} is damaged in the cache that sends it: its bytes are not those that its name says. Remove "
                "that file of the cache; `dvc repro` makes it again."
            )
        os.chmod(partial, 0o444)  # as DVC keeps its objects
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _write_piecewise(path: Path, size: int, stream: BinaryIO, seen: Callable[[int], None]) -> str:
    """Write the next `size` bytes of the stream; their md5."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "wb") as file:
        left = size
        while left:
            piece = stream.read(min(_PIECE, left))
            if not piece:
                raise Refused(_BROKEN)
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
            seen(len(piece))
    return digest.hexdigest()


@contextmanager
def end_if_silent() -> Iterator[Callable[[int], None]]:
    """End a block in which nothing moves for `SILENCE` seconds, by `Refused`: the network may be gone for good.

    What it gives is to be called whenever something moves. For the main thread alone.
    """

    def give_up(*_: object) -> None:
        raise Refused(f"nothing came for {SILENCE} s; run the same command again, it goes on from there.")

    signal.signal(signal.SIGALRM, give_up)
    _set_alarm()
    try:
        yield lambda size: _set_alarm()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _set_alarm() -> None:
    signal.alarm(SILENCE)


def _sweep(incoming: Path) -> None:
    """Remove halves of objects that a killed process left a day ago or longer."""
    for path in incoming.iterdir():
        with suppress(FileNotFoundError):  # another process may do the same
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink()


def find_missing(cache: Path, wanted: Iterable[tuple[str, int]]) -> list[str]:
    """The paths, of (path, size), that the cache lacks; an object of another size is half of one, and goes."""
    missing = []
    for path, size in wanted:
        target = cache / path
        try:
            whole = target.stat().st_size == size
        except FileNotFoundError:
            whole = False
        else:
            if not whole and _NAMED.fullmatch(path):
                target.unlink()
        if not whole:
            missing.append(path)
    return missing


def measure_free(path: Path) -> int:
    """Bytes that may still be written below `path`."""
    return shutil.disk_usage(path).free
