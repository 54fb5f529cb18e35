"""How many rows of a source became records, by file, and the stops where these are too few."""

import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tunelock.reading.json_elements import is_python
from tunelock.reading.unused_columns import ColumnWatch
from tunelock.records.left_out import LeftOutTally, format_left_out
from tunelock.records.record import LeftOutRow, Record
from tunelock.run.errors import Stop

SET_ASIDE = "set_aside_"
LIST_VALUE = re.compile(r'": \[')
SHOWN_RAW = 200  # characters of a row that is set aside


@dataclass(slots=True)
class SourceCounts:
    """The rows of one source: rows, records, and rows left out as STATUS_REASON; and what is in its files."""

    rows: Counter[str] = field(default_factory=Counter)
    records_by_file: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    left_out: LeftOutTally = field(default_factory=LeftOutTally)
    first_set_aside: dict[str, LeftOutRow] = field(default_factory=dict)  # by file
    columns: ColumnWatch = field(default_factory=ColumnWatch)

    def note_row(self, row: Record | LeftOutRow) -> None:
        self.rows["rows"] += 1
        if "status" in row:
            self.rows[f"{row['status']}_{row['reason']}"] += 1
            self.left_out.note_row(row["reason"], row)
            self.records_by_file[row["file"]] += 0
            if row["status"] == "set_aside":
                self.first_set_aside.setdefault(row["file"], row)
        else:
            self.rows["records"] += 1
            self.records_by_file[row["file"]] += 1


def tell_no_records(counts: dict[str, SourceCounts], limit: float) -> None:
    """Show on stderr, by source and reason, the rows that are no records."""
    for source, seen in counts.items():
        if seen.left_out.counts:
            set_aside = [reason for reason in seen.left_out.counts if f"{SET_ASIDE}{reason}" in seen.rows]
            rulings = dict.fromkeys(set_aside, f"max_set_aside_share: {limit} of them at most")
            print(
                format_left_out(f"no record of '{source}'", seen.left_out, seen.rows["rows"], rulings), file=sys.stderr
            )


def refuse_files_without_records(counts: dict[str, SourceCounts]) -> None:
    """Stop at a file of which no row is a record, whatever its share of the source: its rows are lost."""
    for source, seen in counts.items():
        for file, records in seen.records_by_file.items():
            if not records and file in seen.first_set_aside:
                row = seen.first_set_aside[file]
                raise Stop(
                    f"{file} has no row that becomes a record of source '{source}'. {_show_row(row)} Mend the file, or "
                    "leave it out by naming the others (a glob in `path`)."
                )


def refuse_many_set_aside(counts: dict[str, SourceCounts], limit: float) -> None:
    """Stop if too many rows were set aside: more likely the source is described wrongly than so many rows bad."""
    for source, seen in counts.items():
        reasons = {key.removeprefix(SET_ASIDE): n for key, n in seen.rows.items() if key.startswith(SET_ASIDE)}
        if sum(reasons.values()) > limit * seen.rows["rows"]:
            listed = ", ".join(f"{reason}: {n}" for reason, n in sorted(reasons.items()))
            raise Stop(
                f"{sum(reasons.values())} of {seen.rows['rows']} rows of source '{source}' were set aside ({listed}), "
                f"more than max_set_aside_share {limit}; look into data/records/set_aside.jsonl and mend the source. "
                f"{_show_row(next(iter(seen.first_set_aside.values())))}"
            )


def _show_row(row: LeftOutRow) -> str:
    """The first row that was set aside, in a sentence, and what would make it readable where that shows."""
    raw = row["raw"] if len(row["raw"]) <= SHOWN_RAW else f"{row['raw'][:SHOWN_RAW]}…"
    return f"The first row set aside is {row['file']}:{row['line']} ({row['reason']}): {raw!r}.{_advise(row)}"


def _advise(row: LeftOutRow) -> str:
    """What to do about a row by its reason and by how it looks."""
    raw = row["raw"].strip()
    if row["reason"] == "not_json" and is_python(raw):
        return " This is Python's notation: write it with json.dumps."
    if row["reason"] == "not_json":
        return " Write one object a line, without commas between the lines (.jsonl), or an array (.json)."
    if row["reason"] == "not_an_object":
        return ' A row is an object, which names its columns, such as {"question": "…", "answer": "…"}.'
    if row["reason"].startswith("not_text") and LIST_VALUE.search(raw):
        return " A column holds a list: write one object a row, each with its own values."
    return ""
