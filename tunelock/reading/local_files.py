"""Local raw data: what a path, folder or glob means, and that DVC or a pin knows every byte of it."""

import configparser
import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from tunelock.reading.file_names import matches_glob, normalise_name, spell_as_on_disk, split_glob
from tunelock.reading.left_behind import refuse_left_behind
from tunelock.reading.raw_files import (
    RawFile,
    is_hidden,
    is_supported,
    list_raw_files,
    nothing_in,
    require_supported,
)
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path
from tunelock.run.params import load_yaml

RAW = "data/raw"  # what DVC watches of the sources
GENERAL = "data/general"  # and of general_source


def find_local_files(path: str, revision: str | None, root: Path, watched: str = RAW) -> list[RawFile]:
    """The files of a local file, folder or glob, whose bytes DVC watches (in `watched`) or `revision` pins."""
    if not path or "\0" in path or ".." in PurePosixPath(path).parts:
        raise Stop(f"'{path}' is no path that can be read; write one without '..'.")
    root = Path(os.path.abspath(root))
    refuse_left_behind(path, root)
    place = spell_as_on_disk(root / path)
    files = _select_files(place, path, root, watched)
    if revision:
        _check_pin(place, path, revision)
    else:
        _refuse_unwatched(place, path, files, root, watched)
    names = {file: _name_file(file, root) for file in files}
    _refuse_twins(names)
    return list(chain.from_iterable(list_raw_files(file, name, file.name) for file, name in names.items()))


def _refuse_twins(names: dict[Path, str]) -> None:
    """Stop at two files that differ in the Unicode form of their names alone: the ledger could not tell them apart."""
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise Stop(f"two files have the name {twice[0]}, in two Unicode forms (NFC and NFD); rename one of them.")


def _select_files(place: Path | None, path: str, root: Path, watched: str) -> list[Path]:
    """The files that `path` means: the file `place`, the supported ones in the folder `place`, or those of a glob."""
    if place and place.is_file():
        require_supported(path, path)
        return [place]
    if place and not place.is_dir():
        raise Stop(f"{path} is neither a file nor a folder; if it is a link to nothing, run {_advise_to_fetch(place)}.")
    split = split_glob(path)
    base = place or spell_as_on_disk(root.joinpath(*split.base))
    glob = "**" if place else "/".join(split.glob) or "**"
    if base is None:
        raise Stop(f"{path} is missing{_advise_to_pull(root / path, root)}.")
    _refuse_unpulled(base, glob, root)
    found = (file for file in walk_files(base) if matches_glob(file.relative_to(base).as_posix(), glob))
    chosen = [file for file in found if is_supported(file.name) and file != root / watched / "README.md"]
    if not chosen:
        raise nothing_in(path, _advise_to_pull(root / path, root))
    return chosen


def walk_files(folder: Path) -> Iterator[Path]:
    """The files below a folder, the hidden ones and those in hidden folders left out."""
    for here, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for path in (Path(here, name) for name in folders):
            if path.is_symlink():
                raise Stop(f"{path} is a link to a folder; copy the files in, or name that folder as a source.")
        for path in (Path(here, name) for name in sorted(names) if not is_hidden(name)):
            if path.is_symlink() and not path.exists():
                raise Stop(f"{path} is a link to nothing; run {_advise_to_fetch(path)} or remove it.")
            if path.is_file():
                yield path


def _advise_to_fetch(link: Path) -> str:
    """The command that brings what a link leads to: git-annex and DVC keep data behind links."""
    by_annex = link.is_symlink() and "annex/objects" in link.readlink().as_posix()
    return "`git annex get`" if by_annex else "`dvc checkout`"


def _refuse_unreadable(error: OSError) -> None:
    raise Stop(f"{error.filename} cannot be listed ({error.strerror}); check the path and its permissions.")


def _check_pin(place: Path | None, path: str, revision: str) -> None:
    """Stop if a file or folder has not the digest that its source pins."""
    if place is None:
        raise Stop(f"{path} is a glob, which no revision can pin; name the folder, or leave the revision out.")
    found = sha256_path(place)
    if found != revision:
        raise Stop(f"{path} has sha256 {found}, params.yaml pins {revision}; correct 'revision' if you trust it.")


def _refuse_unwatched(place: Path | None, path: str, files: list[Path], root: Path, watched: str) -> None:
    """Stop at a file that may change without DVC's notice: outside the folder `watched`, or a link out of it.

    DVC's own links, into its cache, are watched: the path is in that folder, and the cache does not change.
    """
    raw = root / watched
    homes = [folder.resolve() for folder in (raw, *_find_cache_folders(root))]
    for file in files:
        target = file.resolve()
        if not file.is_relative_to(raw) or not any(target.is_relative_to(home) for home in homes):
            pin = f"pin it with revision: {sha256_path(place)}" if place else "name a folder instead and pin that"
            raise Stop(
                f"{_name_file(file, root)} is not in {watched}, the one folder that DVC watches for new data (a link "
                f"counts as where it leads); copy it there (and `dvc add` the copy if it is large), or {pin}."
            )


def _find_cache_folders(root: Path) -> list[Path]:
    """Where DVC keeps the files that it may link to: its default place and the one this repository configures."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(configparser.Error):  # DVC itself will complain
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return [root / ".dvc" / config.get("cache", "dir", fallback="cache").strip("'\""), root / ".dvc" / "cache"]


def _refuse_unpulled(base: Path, glob: str, root: Path) -> None:
    """Stop if DVC tracks something that belongs to the source and is not there: it must not shrink unnoticed."""
    for pointer in filter(Path.is_file, base.rglob("*.dvc")):
        entry = load_yaml(pointer)
        for out in entry.get("outs") or []:
            tracked = pointer.parent / entry.get("wdir", "") / out["path"]
            name = tracked.relative_to(base).as_posix() if tracked.is_relative_to(base) else ""
            wanted = matches_glob(name, glob) or (
                "**" in glob and not is_supported(name)
            )  # a folder, perhaps with such files
            there = spell_as_on_disk(tracked)
            if wanted and (there is None or not there.exists()):
                raise Stop(f"{_name_file(tracked, root)} is missing{_advise_to_pull(pointer.with_suffix(''), root)}.")


def _advise_to_pull(path: Path, root: Path) -> str:
    """What to do where a path is missing or has nothing in it, if DVC tracks it or a folder above it."""
    for pointer in (spell_as_on_disk(Path(f"{place}.dvc")) for place in (path, *path.parents)):
        if pointer and pointer.is_file():
            return "; run `dvc pull {0}`, or `dvc checkout {0}` if it was pulled".format(_name_file(pointer, root))
    return "; check the path"


def _name_file(path: Path, root: Path) -> str:
    """How provenance names a local file: relative to the repository if it is in it."""
    name = normalise_name((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Stop(f"{name!a} is no file name in UTF-8; rename the file.") from None
    return name
