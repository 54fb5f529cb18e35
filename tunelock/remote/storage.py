"""`storage` of remote.yaml, seen from the laptop: a bucket or a shared folder that objects pass instead of ssh."""

from collections.abc import Callable, Iterable
from pathlib import Path

from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.stored_objects import Moved, fetch_from_storage, push_to_storage
from tunelock.run.errors import Stop


def push_objects(
    url: str, objects: Iterable[tuple[str, int]], cache: Path, seen: Callable[[int], None] = lambda size: None
) -> Moved:
    """Send objects of the cache, (path, bytes), that the storage lacks; `seen` gets the bytes of each piece.

    Raises:
        Stop: an object is not in the cache, or the storage cannot be reached or says no.
    """
    try:
        return push_to_storage(url, cache, list(objects), seen)
    except Refused as refusal:
        raise Stop(str(refusal)) from None


def fetch_objects(
    url: str, objects: Iterable[tuple[str, int]], cache: Path, seen: Callable[[int], None] = lambda size: None
) -> Moved:
    """Take objects, (path, bytes), that the cache lacks, each checked by its md5; `seen` gets the bytes of each piece.

    Raises:
        Stop: the storage lacks an object or has other bytes, cannot be reached or says no.
    """
    try:
        return fetch_from_storage(url, cache, list(objects), seen)
    except Refused as refusal:
        raise Stop(str(refusal)) from None
