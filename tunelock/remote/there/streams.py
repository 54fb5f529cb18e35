"""Objects of DVC's cache over a pipe: a line of JSON for each, then its bytes. Both sides use it.

What arrives is checked by its name, which is the md5 of its bytes, and gets its name at the very end, so that a lost
connection leaves no half of an object behind.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from tunelock.remote.there.refusal import Refused

_PIECE = 1 << 20  # bytes that are held at a time
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
    """Read objects until the empty line; how many bytes came. Raises `Refused` at a break or at other bytes than named."""
    came = 0
    while line := stream.readline():
        if line == b"\n":
            return came
        head = json.loads(line)
        _receive_one(cache, head["path"], head["size"], stream, seen)
        came += head["size"]
    raise Refused("the connection broke off while objects were sent; run the same command again, it goes on from there.")


def _receive_one(cache: Path, path: str, size: int, stream: BinaryIO, seen: Callable[[int], None]) -> None:
    named = _NAMED.fullmatch(path)
    if not named and not _RUN.fullmatch(path):
        raise Refused(f"'{path}' is no object of a DVC cache.")
    target, digest = cache / path, hashlib.md5(usedforsecurity=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            left = size
            while left:
                piece = stream.read(min(_PIECE, left))
                if not piece:
                    raise Refused(
                        "the connection broke off while objects were sent; run the same command again, it goes on from there."
                    )
                file.write(piece)
                digest.update(piece)
                left -= len(piece)
                seen(len(piece))
        if named and digest.hexdigest() != named[1] + named[2]:
            raise Refused(f"{path} arrived with other bytes than its name says; mend it at its sender (`dvc fetch`).")
        os.chmod(partial, 0o444)  # as DVC keeps its objects
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


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
