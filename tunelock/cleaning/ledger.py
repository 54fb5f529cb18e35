"""The books of the cleaning: where every row went, by rule, with its file and line, and the sums that must match."""

from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

from tunelock.cleaning.rules import Judgement
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line

BOOKS = ("records", "dropped", "set_aside", "repaired", "pii", "ledger")


class Ledger:
    """Writes each row into its file below `folder` and counts it by source, status and reason."""

    def __init__(self, folder: Path, files: ExitStack):
        self.out = {name: files.enter_context((folder / f"{name}.jsonl").open("wb")) for name in BOOKS}
        self.counts: dict[str, Counter] = defaultdict(Counter)
        self.tasks: Counter = Counter()

    def note(self, verdict: Judgement) -> None:
        """Book what was done to one record, and the record itself if it goes no further."""
        record = verdict.record
        counts = self.counts[record["source"]]
        for kind, message, start, end in verdict.found:
            self.write("pii", {**_place_of(record), "kind": kind, "message": message, "start": start, "end": end})
            counts["pii", kind] += 1
        if verdict.repairs:
            change = {"repairs": verdict.repairs, "before": verdict.before, "after": record["messages"]}
            self.write("repaired", {**_place_of(record), **change})
            counts["repaired", ""] += 1
            counts.update(("repairs", name) for name in verdict.repairs)
        if verdict.status != "kept":
            self.leave_out(record, verdict.status, verdict.reason)

    def leave_out(self, row: dict, status: str, reason: str, because: str | None = None) -> None:
        """Book a row as dropped or set aside, on account of the record `because` where it has one."""
        cause = {"because": because} if because else {}
        self.write(status, {**row, "status": status, "reason": reason, **cause})
        self.enter(row, status, {"rule": reason, **cause})
        self.counts[row["source"]][status, reason] += 1

    def keep(self, record: dict) -> None:
        """Book a record as kept."""
        self.write("records", record)
        self.enter(record, "kept", {})
        self.counts[record["source"]]["kept", ""] += 1
        self.tasks[record["task"]] += 1

    def enter(self, row: dict, status: str, more: dict) -> None:
        """One line of the ledger."""
        self.write("ledger", {**_place_of(row), "status": status, **more})

    def write(self, book: str, row: dict) -> None:
        self.out[book].write(format_json_line(row))

    def funnel(self, ingested: dict[str, dict[str, int]]) -> dict:
        """Figures by source and in total: rows, kept, repaired, dropped and set aside by reason, personal data by kind.

        Raises:
            Stop: a row that `stages.ingest` counted is not in the books, or one is in them twice.
        """
        figures = {}
        for source in sorted(ingested.keys() | self.counts.keys()):
            rows, booked = ingested.get(source, {"rows": 0})["rows"], self.counts[source]
            out = sum(n for (status, _), n in booked.items() if status in ("kept", "dropped", "set_aside"))
            if rows != out:
                raise Stop(f"source '{source}' had {rows} rows, but {out} are in the ledger; report this bug.")
            figures[source] = {"rows": rows, **_figures_of(booked)}
        booked = sum(self.counts.values(), Counter())
        total = {"rows": sum(seen["rows"] for seen in ingested.values()), **_figures_of(booked)}
        return {"sources": figures, "total": total, "tasks": dict(self.tasks)}


def _place_of(row: dict) -> dict:
    """Where a row came from; one that never became a record has no id."""
    return {key: row[key] for key in ("id", "source", "file", "line") if key in row}


def _figures_of(booked: Counter) -> dict:
    """The counts of one source as a small tree."""
    tree = {"kept": booked["kept", ""], "repaired": booked["repaired", ""]}
    for status in ("dropped", "set_aside", "pii", "repairs"):
        tree[status] = {reason: n for (kind, reason), n in sorted(booked.items()) if kind == status}
    return tree
