"""How files come into data/raw, the one folder that DVC watches for new data: those that lie elsewhere are copied."""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from tunelock.reading.local_files import RAW
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path

LARGE = 10e6  # bytes; what is larger does not belong into git


class Copy(NamedTuple):
    """A file or folder that is to be copied into data/raw."""

    origin: Path
    place: Path
    size: int


def plan_copy(path: Path) -> Copy | None:
    """The copy that a path needs; None where it lies in data/raw already.

    Raises:
        Stop: something else has that name in data/raw.
    """
    origin, raw = Path(os.path.abspath(path)), Path(os.path.abspath(RAW))
    if origin.is_relative_to(raw):
        return None
    place = Path(RAW, origin.name)
    if place.exists() and sha256_path(place) != sha256_path(origin):
        raise Stop(f"{place} is there and differs from {path}; rename one of the two, or start from {place}.")
    files = [file for file in origin.rglob("*") if file.is_file()] if origin.is_dir() else [origin]
    return Copy(origin, place, sum(file.stat().st_size for file in files))


def bring_in(copy: Copy) -> None:
    """Copy a file or folder into data/raw; hidden files stay behind."""
    if copy.place.exists():
        return
    copy.place.parent.mkdir(parents=True, exist_ok=True)
    if copy.origin.is_dir():
        shutil.copytree(copy.origin, copy.place, ignore=shutil.ignore_patterns(".*"))
    else:
        shutil.copy2(copy.origin, copy.place)


def replace_place(path: str, copy: Copy | None, typed: Path) -> str:
    """The path of a source as params.yaml has it, once the files that were typed are in data/raw."""
    if copy is None:
        return os.path.relpath(path) if os.path.isabs(path) else path
    inside = os.path.relpath(path, typed)
    return copy.place.as_posix() if inside == "." else f"{copy.place.as_posix()}/{inside}"


def say_how_kept(path: str, size: int) -> str | None:
    """What puts a file into the care of git or DVC; None where DVC has it."""
    place = Path(path.split("/*", maxsplit=1)[0])
    if any(Path(f"{folder}.dvc").exists() for folder in (place, *place.parents)):
        return None
    return f"dvc add {place}" if size > LARGE else f"git add {place}"


def name_source(path: str, taken: set[str]) -> str:
    """A name for a source: letters, digits and _, not taken yet."""
    stem = Path(path.split("/*", maxsplit=1)[0]).name.split(".")[0]
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "data"
    name = name if name[0].isalpha() else f"data_{name}"
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique
