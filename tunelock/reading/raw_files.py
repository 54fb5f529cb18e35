"""Files of raw data as streams, packed or plain, whatever their origin."""

import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, cast
from zipfile import ZipFile, ZipInfo

from tunelock.fetching.archives import open_archive, read_blocks, stream_member, unpack_stream
from tunelock.reading.file_names import normalise_name
from tunelock.reading.first_bytes import HEAD, find_packing, refuse_other_kind, refuse_pointer, refuse_unpacked
from tunelock.run.errors import Stop

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".xml")
PACKINGS = (".gz", ".zst")
SUPPORTED = f"{', '.join(SUFFIXES)}, each also as .gz or .zst or in a .zip"


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


class _Form(NamedTuple):
    """One of SUFFIXES and one of PACKINGS, "" for none."""

    suffix: str
    packing: str


def find_form(path: str) -> _Form | None:
    """The form that a path ends with, in whatever case; None if we cannot read such a file."""
    path = path.lower()
    packing = next(filter(path.endswith, PACKINGS), "")
    suffix = PurePosixPath(path.removesuffix(packing)).suffix
    return _Form(suffix, packing) if suffix in SUFFIXES else None


def is_supported(path: str) -> bool:
    return path.lower().endswith(".zip") or find_form(path) is not None


def require_supported(path: str, name: str) -> None:
    if not is_supported(path):
        raise Stop(f"{name} has no suffix that can be read ({SUPPORTED}).")


def list_raw_files(file: Path, name: str, place: str) -> list[RawFile]:
    """The raw files in `file`: the supported members of a zip, otherwise itself; `place` has its suffix."""
    size = file.stat().st_size
    if not size:
        raise Stop(f"{name} is empty; remove it or fetch it again.")
    if not place.lower().endswith(".zip"):
        return [_wrap_file(name, place, size, partial(_open_plain, file))]
    with open(file, "rb") as stream:
        head = stream.read(HEAD)
    refuse_pointer(head, name)
    if not head.startswith(b"PK") or b"[Content_Types].xml" in head:
        refuse_other_kind(head, ".zip", name)
    archive = open_archive(file, name)
    members = [info for info in archive.infolist() if find_form(info.filename) and not is_hidden(info.filename)]
    if not members:
        raise nothing_in(name)
    return [wrap_member(archive, info, name, f"{name}!{normalise_name(info.filename)}") for info in members]


def wrap_member(archive: ZipFile, info: ZipInfo, archive_name: str, name: str) -> RawFile:
    """The raw file that a member of an archive is; the archive stays open for as long as the raw file lives."""
    if not info.file_size:
        raise Stop(f"{name} is empty; remove it or fetch it again.")
    return _wrap_file(name, info.filename, info.compress_size, partial(stream_member, archive, info, archive_name))


def _wrap_file(name: str, place: str, size: int, opener: Callable[[], BinaryIO]) -> RawFile:
    """Wrap what `opener` gives so that it is decompressed, and seekable where the format asks for it."""
    form = find_form(place)
    opener = partial(_open_content, opener, form, name, size)
    if form.suffix == ".parquet":
        opener = partial(_open_seekable, opener)
    return RawFile(name, form.suffix, size, opener)


def _open_plain(file: Path) -> BinaryIO:
    return open(file, "rb")


def _open_content(opener: Callable[[], BinaryIO], form: _Form, name: str, size: int) -> BinaryIO:
    """The stream of a file, unpacked by what its first bytes say; `Stop` where they are not what its name says."""
    stream = cast(io.BufferedReader, opener())
    head = stream.peek(HEAD)[:HEAD]
    refuse_pointer(head, name)
    packing = find_packing(head)
    if form.packing and not packing:
        refuse_other_kind(head, form.suffix, name)
        refuse_unpacked(head, form.packing, name)
    if packing or form.packing:
        stream = unpack_stream(stream, packing or form.packing, name, size)
        head = stream.peek(HEAD)[:HEAD]
        refuse_pointer(head, name)
    refuse_other_kind(head, form.suffix, name)
    return stream


def _open_seekable(opener: Callable[[], BinaryIO]) -> BinaryIO:
    """The stream, or a temporary file with its content if it only reads forwards."""
    stream = opener()
    if stream.seekable():
        return stream
    with stream:
        copy = tempfile.TemporaryFile()  # noqa: SIM115  the reader closes it
        for block in read_blocks(stream):
            copy.write(block)
    copy.seek(0)
    return copy


def is_hidden(path: str) -> bool:
    """Whether a path is hidden, or one of the shadow files that macOS puts into a zip."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def nothing_in(name: str, advice: str = "") -> Stop:
    return Stop(f"{name} has no file that can be read ({SUPPORTED}){advice}.")
