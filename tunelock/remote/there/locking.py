"""Locks between the jobs of one host: one GPU a job, one build of an environment, one making of what tasks share."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL = 1.0  # seconds between two looks


@contextmanager
def hold(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock; `waiting` is called once if another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    if not path.exists():
        return False
    with open(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def count_gpus() -> int:
    """The NVIDIA GPUs that the driver shows; 0 without a driver."""
    try:
        command = [shutil.which("nvidia-smi") or "nvidia-smi", "-L"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


@contextmanager
def take_place(
    locks: Path, places: list[str], is_first: Callable[[], bool], waiting: Callable[[], None]
) -> Iterator[str]:
    """Hold one of the places, a GPU each, by a lock for as long as the block runs; which one.

    Who comes first takes first: `is_first` says whether no older job waits. `waiting` is called once if none is free.
    """
    locks.mkdir(parents=True, exist_ok=True)
    told = False
    while (taken := _take_free(locks, places) if is_first() else None) is None:
        if not told:
            waiting()
            told = True
        time.sleep(_POLL)
    place, descriptor = taken
    try:
        yield place
    finally:
        os.close(descriptor)


def _take_free(locks: Path, places: list[str]) -> tuple[str, int] | None:
    for place in places:
        descriptor = os.open(locks / f"{place}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return place, descriptor
    return None
