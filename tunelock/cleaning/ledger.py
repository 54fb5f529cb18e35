"""The books of the cleaning: where every row went, by rule, with its file and line, and the sums that must match."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict

from tunelock.cleaning.judgement import Judgement
from tunelock.cleaning.personal_data import HiddenRow, PiiPlace
from tunelock.records.left_out import LeftOutTally
from tunelock.records.markup import MarkupTally
from tunelock.records.record import LeftOutRow, Record
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line

BOOKS = ("records", "dropped", "set_aside", "repaired", "pii", "ledger")
PLACE = ("id", "source", "file", "line")  # where a row came from; one that never became a record has no id
STATUSES = ("kept", "dropped", "set_aside")


class _FunnelFigures(TypedDict):
    """Counts of rows of a source, or of all: by reason, by kind of personal data, by repair."""

    rows: int
    kept: int
    repaired: int
    dropped: dict[str, int]
    set_aside: dict[str, int]
    pii: dict[str, int]
    repairs: dict[str, int]


class Funnel(TypedDict):
    """metrics/data.json: the figures of each source and of all, and the kept rows of each task."""

    sources: dict[str, _FunnelFigures]
    total: _FunnelFigures
    tasks: dict[str, int]


class Ledger:
    """Writes each row into its file below `folder` and counts it by source, status and reason.

    `left_out` has by source the records that cleaning leaves out; what never became a record is not among them.
    `markup` has by source how many of the kept answers hold HTML.
    """

    def __init__(self, folder: Path, files: ExitStack):
        self.out = {name: files.enter_context((folder / f"{name}.jsonl").open("wb")) for name in BOOKS}
        self.counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self.tasks: Counter[str] = Counter()
        self.left_out: dict[str, LeftOutTally] = defaultdict(LeftOutTally)
        self.markup: dict[str, MarkupTally] = defaultdict(MarkupTally)

    def note_raw_row(self, hidden: HiddenRow) -> None:
        """Book a row that never became a record."""
        self._note_pii(hidden.row, hidden.found)
        self._book_departure(hidden.row, hidden.row["status"], hidden.row["reason"], {})

    def note_judgement(self, judgement: Judgement) -> None:
        """Book what was done to one record, and the record itself if it goes no further."""
        record = judgement.record
        self._note_pii(record, judgement.found)
        if judgement.repairs:
            counts = self.counts[record["source"]]
            change = {"repairs": judgement.repairs, "before": judgement.before, "after": record["messages"]}
            self._write_row("repaired", {**_place_of(record), **change})
            counts["repaired", ""] += 1
            counts.update(("repairs", name) for name in judgement.repairs)
        if judgement.status != "kept":
            self.leave_out(record, judgement.status, judgement.reason)

    def _note_pii(self, row: Record | LeftOutRow, found: tuple[PiiPlace, ...]) -> None:
        for place in found:
            self._write_row("pii", {**_place_of(row), **place._asdict()})
            self.counts[row["source"]]["pii", place.kind] += 1

    def leave_out(self, record: Record, status: str, reason: str, because: str | None = None) -> None:
        """Book a record as dropped or set aside, on account of the record `because` where it has one."""
        self.left_out[record["source"]].note_row(reason, record)
        self._book_departure(record, status, reason, {"because": because} if because else {})

    def _book_departure(self, row: Record | LeftOutRow, status: str, reason: str, cause: dict[str, str]) -> None:
        self._write_row(status, {**row, "status": status, "reason": reason, **cause})
        self._write_row("ledger", {**_place_of(row), "status": status, "rule": reason, **cause})
        self.counts[row["source"]][status, reason] += 1

    def keep_record(self, record: Record) -> None:
        """Book a record as kept."""
        self._write_row("records", record)
        self.markup[record["source"]].note_record(record)
        self._write_row("ledger", {**_place_of(record), "status": "kept"})
        self.counts[record["source"]]["kept", ""] += 1
        self.tasks[record["task"]] += 1

    def _write_row(self, book: str, row: Mapping[str, object]) -> None:
        self.out[book].write(format_json_line(row))

    def sum_up(self, ingested: dict[str, dict[str, int]]) -> Funnel:
        """The figures of all that was booked; `ingested` are the counts of the stage `ingest` by source.

        Raises:
            Stop: a row that `stages.ingest` counted is not in the books, or one is in them twice.
        """
        sources: dict[str, _FunnelFigures] = {}
        total: Counter[tuple[str, str]] = Counter()
        for source in sorted(ingested.keys() | self.counts.keys()):
            booked = self.counts[source]
            rows = ingested[source]["rows"] if source in ingested else 0
            out = sum(count for (status, _), count in booked.items() if status in STATUSES)
            if rows != out:
                raise Stop(f"source '{source}' had {rows} rows, but {out} are in the ledger; report this bug.")
            sources[source] = _sum_booked(booked, rows)
            total.update(booked)
        rows = sum(counts["rows"] for counts in ingested.values())
        return {"sources": sources, "total": _sum_booked(total, rows), "tasks": dict(self.tasks)}


def _place_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in PLACE if key in row}


def _sum_booked(booked: Counter[tuple[str, str]], rows: int) -> _FunnelFigures:
    reasons: dict[str, dict[str, int]] = defaultdict(dict)
    for (kind, reason), count in sorted(booked.items()):
        reasons[kind][reason] = count
    return {
        "rows": rows,
        "kept": booked["kept", ""],
        "repaired": booked["repaired", ""],
        "dropped": reasons["dropped"],
        "set_aside": reasons["set_aside"],
        "pii": reasons["pii"],
        "repairs": reasons["repairs"],
    }
