"""The files that a person names, as sources: those with the same columns are one; encoding and delimiter are found."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tunelock.previewing.start_profile import TableProfile
from tunelock.reading.first_bytes import TABLES
from tunelock.reading.local_files import RAW
from tunelock.reading.readers import read_rows
from tunelock.reading.reading import DOCUMENTS
from tunelock.reading.rows import Row
from tunelock.reading.sources import RawFile, find_files
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop

HEAD = 2**20  # bytes that show an encoding
PROBED = 50  # rows that show the columns of a file
DELIMITERS = (",", ";", "\t", "|")
ABOUT = ("readme", "license", "licence", "notice", "changelog", "citation", "dataset_card", "dataset_infos")
BINARY = (".parquet", ".xml")
CHUNK_CHARS = 1200  # the default of a source


class _FileForm(NamedTuple):
    """What the files of one source have in common."""

    is_document: bool
    columns: frozenset[str]
    encoding: str | None
    delimiter: str | None


@dataclass(slots=True)
class FileSet:
    """Files of one form, at one path: what becomes a source. `passed_over` are those that only speak of the data."""

    path: str
    files: list[RawFile]
    encoding: str | None = None
    delimiter: str | None = None
    is_document: bool = False
    passed_over: list[str] = field(default_factory=list)

    def profile(self) -> TableProfile:
        """Read every row once."""
        table = TableProfile()
        with Bar(total=sum(file.size for file in self.files), unit="B", desc=f"look at {self.path}") as bar:
            for file in self.files:
                table.add_rows(read_rows(file, self.encoding, self.delimiter, CHUNK_CHARS, bar.update))
        return table


def find_file_sets(path: Path) -> list[FileSet]:
    """The sets of files at a path on this machine, each of files with the same columns.

    Raises:
        Stop: there is nothing there, nothing that can be read, or what is there must be fetched first.
    """
    if "://" in str(path) or str(path).startswith("wheel:"):
        raise Stop(f"{path} is no file here; name it under `sources` in params.yaml with its revision (docs/data.md).")
    if not path.exists():
        raise Stop(f"{path} is not there; give the path of a file or a folder.")
    place = Path(os.path.abspath(path))
    raw = Path(os.path.abspath(RAW))
    files = find_files(str(place), None, watched=RAW if place.is_relative_to(raw) else str(place.parent))
    about = [file for file in files if _speaks_of_data(file)]
    data = [file for file in files if file not in about]
    tables = [file for file in data if file.suffix not in DOCUMENTS]
    files, about = (data, about) if tables else (files, [])
    sets = _join_alike(path, files)
    sets[0].passed_over = [PurePosixPath(file.name).name for file in about]
    return sets


def _speaks_of_data(file: RawFile) -> bool:
    """Whether a file is about the data that it lies with."""
    return PurePosixPath(file.name).name.split(".")[0].lower() in ABOUT


def _join_alike(path: Path, files: list[RawFile]) -> list[FileSet]:
    """Files of one form become one set; the path of a set names no other file."""
    forms: list[_FileForm] = []
    members: list[list[RawFile]] = []
    for file in files:
        form = _probe_form(file)
        place = next((number for number, other in enumerate(forms) if _is_alike(form, other)), len(forms))
        if place == len(forms):
            forms.append(form)
            members.append([])
        members[place].append(file)
    if len(forms) == 1 or not path.is_dir():
        return [_make_set(path.as_posix(), files, forms[0])]
    sets = []
    for form, some in zip(forms, members):
        glob = _find_glob(path, some, files)
        if glob:
            sets.append(_make_set(glob, some, form))
        else:
            sets += [_make_set(_name_in(path, file), [file], form) for file in some]
    return sets


def _make_set(path: str, files: list[RawFile], form: _FileForm) -> FileSet:
    return FileSet(path, files, form.encoding, form.delimiter, form.is_document)


def _name_in(path: Path, file: RawFile) -> str:
    """The path of a file as the person began it; of an archive's member the archive."""
    name = file.name.split("!")[0]
    return (path / os.path.relpath(name, path)).as_posix()


def _find_glob(path: Path, some: list[RawFile], files: list[RawFile]) -> str | None:
    """A glob for these files and no other one, by their suffix."""
    suffixes = {file.suffix for file in some}
    others = [file for file in files if file.suffix in suffixes and file not in some]
    packed = any("!" in file.name or not file.name.lower().endswith(file.suffix) for file in some)
    if len(some) == 1 or len(suffixes) > 1 or others or packed:
        return None
    return f"{path.as_posix()}/**/*{suffixes.pop()}"


def _is_alike(form: _FileForm, other: _FileForm) -> bool:
    """Whether two files can be one source: most of their columns are the same."""
    if form[0] != other[0] or form[2:] != other[2:]:
        return False
    return form.is_document or 2 * len(form.columns & other.columns) > len(form.columns | other.columns)


def _probe_form(file: RawFile) -> _FileForm:
    """The form of a file by its first rows."""
    encoding = delimiter = None
    if file.suffix not in BINARY:
        head = _read_head(file)
        encoding = detect_encoding(head)
        if file.suffix in TABLES:
            delimiter = detect_delimiter(head.decode(encoding or "utf-8", errors="replace"), file.suffix)
    if file.suffix in DOCUMENTS:
        return _FileForm(True, frozenset(), encoding, None)
    columns: set[str] = set()
    for row in _read_some(file, encoding, delimiter):
        columns |= row.columns.keys()
    return _FileForm(False, frozenset(columns), encoding, delimiter)


def _read_some(file: RawFile, encoding: str | None, delimiter: str | None) -> Iterator[Row]:
    rows = read_rows(file, encoding, delimiter, CHUNK_CHARS, lambda _read: None)
    return (row for row in islice(rows, PROBED) if isinstance(row, Row))


def _read_head(file: RawFile) -> bytes:
    with file.open() as stream:
        return stream.read(HEAD) or b""


def detect_encoding(head: bytes) -> str | None:
    """The encoding of a text that is not UTF-8, by its first bytes; None for UTF-8."""
    from charset_normalizer import from_bytes

    cut = head[: len(head) - 4] if len(head) == HEAD else head  # a character may be cut at the end
    try:
        if "\0" not in cut.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore"):
            return None
    except UnicodeDecodeError:
        pass
    best = from_bytes(head[: 2**16]).best()
    if best is None:
        return "latin-1"
    western = head[: 2**16].decode("cp1252", errors="ignore")  # where two read alike, the one that people know
    return (
        "cp1252" if western == head[: 2**16].decode(best.encoding, errors="ignore") else best.encoding.replace("_", "-")
    )


def detect_delimiter(text: str, suffix: str) -> str | None:
    """What stands between the columns of a table; None for the comma of a .csv and the tab of a .tsv."""
    usual = "\t" if suffix == ".tsv" else ","
    lines = text.splitlines()[:20]
    if not lines:
        return None
    if excel := re.match(r'"?sep=(.)', lines[0], re.IGNORECASE):
        return None if excel[1] == usual else excel[1]
    widths = {mark: _count_cells(lines, mark) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: (widths[mark], mark == usual))
    return None if best == usual or widths[best] < 2 else best


def _count_cells(lines: list[str], mark: str) -> int:
    """The cells of the header, if the first row has as many; 1 if not."""
    try:
        rows = [row for row in islice(csv.reader(lines, delimiter=mark), 2) if row]
    except csv.Error:
        return 1
    return len(rows[0]) if rows and len(rows[-1]) == len(rows[0]) else 1
