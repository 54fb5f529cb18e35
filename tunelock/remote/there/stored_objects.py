"""Objects of DVC's cache to a storage and back, a bucket of S3 or a shared folder, laid out as a remote of DVC is.

On the host it runs in the job's environment: `python -m tunelock.remote.there.stored_objects push|fetch URL CACHE`
reads `[[path, size], …]` from stdin and prints what moved. A bucket needs dvc-s3, a folder nothing.
The credentials are those that AWS's own tools find: variables, a profile, or the machine's role.
"""

import functools
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.stores import Seen, Store, open_store
from tunelock.remote.there.streams import find_missing

Pairs = Sequence[tuple[str, int]]  # path below the cache, bytes
_AT_ONCE = 64  # objects that are moved before their bytes are checked


class Moved(NamedTuple):
    """How many objects were moved, their bytes, and the bytes of those that were there already."""

    objects: int
    size: int
    there_already: int


def push_to_storage(url: str, cache: Path, wanted: Pairs, seen: Seen = lambda size: None) -> Moved:
    """Send what the storage lacks; what describes others (`.dir`, the run cache) goes last.

    Raises:
        Refused: an object is not in the cache, or the storage cannot be reached or says no.
    """
    sizes = dict(wanted)
    with open_store(url) as store:
        absent = sorted(store.find_absent(list(sizes)), key=_rank)
        for path in absent:
            if not (cache / path).is_file():
                raise Refused(f"{cache / path} is missing, which is to go to the storage; `dvc fetch` it.")
        for start in range(0, len(absent), _AT_ONCE):
            store.put(absent[start : start + _AT_ONCE], cache, seen)
    return _count(sizes, absent)


def _rank(path: str) -> tuple[bool, bool, str]:
    """The order in which objects are moved: what names others comes after them."""
    return path.startswith("runs/"), path.endswith(".dir"), path


def fetch_from_storage(url: str, cache: Path, wanted: Pairs, seen: Seen = lambda size: None) -> Moved:
    """Take what the cache lacks; each object's md5 is checked before it gets its name.

    Raises:
        Refused: the storage lacks an object or has other bytes, cannot be reached or says no.
    """
    sizes, missing = dict(wanted), sorted(find_missing(cache, wanted), key=_rank)
    with open_store(url) as store:
        absent = store.find_absent(missing)
        if absent:
            raise Refused(f"{url} lacks {len(absent)} of {len(missing)} objects, such as {absent[0]}; send them again.")
        for start in range(0, len(missing), _AT_ONCE):
            _fetch_some(store, url, cache, missing[start : start + _AT_ONCE], seen)
    return _count(sizes, missing)


def _fetch_some(store: Store, url: str, cache: Path, paths: list[str], seen: Seen) -> None:
    targets = [cache / f"{path}.{os.getpid()}.partial" for path in paths]
    try:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        store.get(paths, targets, seen)
        for path, target in zip(paths, targets):
            _check_bytes(url, path, target)
            target.chmod(0o444)  # as DVC keeps its objects
            target.replace(cache / path)
    finally:
        for target in targets:
            target.unlink(missing_ok=True)


def _check_bytes(url: str, path: str, file: Path) -> None:
    """Refuse a file whose md5 is not its object's name; entries of the run cache have no such name."""
    if path.startswith("files/md5/"):
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, functools.partial(hashlib.md5, usedforsecurity=False)).hexdigest()
        if digest != "".join(path.split("/")[2:]).removesuffix(".dir"):
            raise Refused(f"{url}/{path} has other bytes than its name says; remove it there, then send it again.")


def _count(sizes: dict[str, int], moved: list[str]) -> Moved:
    size = sum(sizes[path] for path in moved)
    return Moved(len(moved), size, sum(sizes.values()) - size)


def main(verb: str, url: str, cache: str) -> None:
    """Move the objects that stdin names; what moved goes to stdout, a refusal to stderr."""
    wanted = [(path, size) for path, size in json.load(sys.stdin)]
    move = {"push": push_to_storage, "fetch": fetch_from_storage}[verb]
    try:
        print(json.dumps(move(url, Path(cache), wanted)._asdict()))
    except Refused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main(*sys.argv[1:])
