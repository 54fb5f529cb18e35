"""Names of files and what they match: macOS writes é as e and an accent, YAML mostly as one character."""

import os
import re
import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_MAGIC = re.compile(r"[*?[]")


def normalise_name(name: str) -> str:
    """The form in which a name is shown, sorted and compared."""
    return unicodedata.normalize("NFC", name)


def spell_as_on_disk(path: Path) -> Path | None:
    """The path as the disk spells it, name by name; None if there is none."""
    place = Path(path.anchor)
    for name in path.relative_to(path.anchor).parts:
        found = place / name if os.path.lexists(place / name) else _find_other_spelling(place, name)
        if found is None:
            return None
        place = found
    return place


def _find_other_spelling(folder: Path, name: str) -> Path | None:
    """A file or folder whose name differs from `name` in its Unicode form alone."""
    if name.isascii() or not folder.is_dir():
        return None
    alike = [other for other in sorted(os.listdir(folder)) if normalise_name(other) == normalise_name(name)]
    return folder / alike[0] if alike else None


class _SplitGlob(NamedTuple):
    """The parts of a path before its first `*`, `?` or `[`, and those from there on."""

    base: tuple[str, ...]
    glob: tuple[str, ...]


def split_glob(path: str) -> _SplitGlob:
    """Where a glob begins to be one."""
    parts = PurePosixPath(path).parts
    depth = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    return _SplitGlob(parts[:depth], parts[depth:])


def matches_glob(name: str, glob: str) -> bool:
    """Whether a relative path matches a glob: `*` within a folder, `**` across folders, as in the shell."""
    return _match_parts(PurePosixPath(normalise_name(name)).parts, PurePosixPath(normalise_name(glob)).parts)


def _match_parts(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match_parts(parts[skipped:], patterns[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _match_parts(parts[1:], patterns[1:])
