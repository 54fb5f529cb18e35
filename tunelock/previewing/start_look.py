"""One source as it was looked at: its entry in params.yaml, and what the reading makes of a sample of its rows."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelock.previewing.source_preview import make_source
from tunelock.previewing.start_files import FileSet
from tunelock.previewing.start_guess import SourceGuess, guess_source
from tunelock.previewing.start_profile import TableProfile
from tunelock.reading.reading import read_source
from tunelock.reading.rows import Unfit
from tunelock.reading.values import write_value
from tunelock.records.markup import describe_markup
from tunelock.records.record import Record
from tunelock.run.errors import Stop
from tunelock.run.files import write_jsonl

COARSE_FILES = 12  # with fewer documents, whole ones cannot be divided among the splits


@dataclass(slots=True)
class SourceLook:
    """A source: its files, their columns, the entry that was guessed, and the records of a sample of its rows.

    left_out: the sampled rows that are no record, by reason.
    """

    name: str
    files: FileSet
    table: TableProfile
    guess: SourceGuess
    records: list[Record] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Rows and faults of all files."""
        return self.table.rows + self.table.faults.total()

    @property
    def share_left_out(self) -> float:
        """The share of the rows that become no record, about."""
        sampled = len(self.records) + self.left_out.total()
        unread = self.table.faults.total() / max(1, self.rows)
        return unread + (1 - unread) * self.left_out.total() / max(1, sampled)


def look_at_files(name: str, files: FileSet, table: TableProfile, chosen: dict[str, str]) -> SourceLook:
    """Guess the entry of a source from its rows and read a sample of them by it."""
    guess = guess_source(table, chosen)
    if files.is_document:
        _group_documents(guess, files, table)
    guess.entry |= {key: value for key in ("encoding", "delimiter") if (value := getattr(files, key))}
    if files.encoding:
        guess.reasons.insert(0, f"the text is not UTF-8; it reads as {files.encoding}")
    if files.delimiter:
        guess.reasons.insert(0, f"{files.delimiter!r} stands between the columns")
    look = SourceLook(name, files, table, guess)
    _read_sampled_rows(look)
    if said := describe_markup(look.records):
        guess.warnings.append(said)
    return look


def _group_documents(guess: SourceGuess, files: FileSet, table: TableProfile) -> None:
    """A document is a group, unless there are too few of them to divide."""
    guess.entry.pop("format", None)
    guess.reasons[:] = ["the files are texts: each is cut into pieces, and all of a piece is learnt from"]
    count = len(files.files)
    if count < COARSE_FILES:
        guess.entry["group"] = "{text}"
        few = "1 file is" if count == 1 else f"{count} files are"
        guess.reasons.append(f"{few} too few to divide whole ones, so each piece is its own group")
    else:
        guess.groups, guess.largest_group = count, 2 / count
        guess.reasons.append(f"the pieces of a file stay in one split; there are {count} files")


def _write_plainly(value: Any) -> Any:
    """A value of a row as JSON can hold it: what Parquet has beyond that, such as dates, in the form of `ingest`."""
    if isinstance(value, dict):
        return {name: _write_plainly(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_write_plainly(part) for part in value]
    if isinstance(value, str | int | None):
        return value
    try:
        return write_value(value)
    except Unfit:
        return repr(value)


def _read_sampled_rows(look: SourceLook) -> None:
    """Put the sampled rows through the reading of `ingest`."""
    first = ""
    entry: dict[str, Any] = {
        key: value for key, value in look.guess.entry.items() if key not in ("encoding", "delimiter")
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample.jsonl")
        write_jsonl(path, map(_write_plainly, look.table.sample))
        for row in read_source(look.name, make_source(str(path), None, **entry)):
            if "status" in row:
                look.left_out[row["reason"]] += 1
                first = first or row["raw"]
            else:
                look.records.append(row)
    if not look.records:
        reasons = look.left_out + look.table.faults
        listed = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.most_common(5))
        fault = next(iter(look.table.first_faults.values()), None)
        raise Stop(
            f"no row of {look.files.path} becomes a record ({listed}); the first is {(first or fault.raw)[:200]!r}. "
            "Mend the file, or write its entry under `sources` by hand (docs/data.md)."
        )
