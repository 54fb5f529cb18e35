"""The rows that ingest, clean and split left out, from what these stages wrote."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelock.previewing.row_choice import RowChoice
from tunelock.previewing.shown_rows import Example, Looking, make_example
from tunelock.previewing.source_preview import LeftOutReason, list_reasons
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl
from tunelock.run.spelling import suggest_name

ALL = "all"
INGESTED = Path("data/records/set_aside.jsonl")
CLEANED = (Path("data/clean/dropped.jsonl"), Path("data/clean/set_aside.jsonl"))
SPLIT = Path("data/split/left_out.jsonl")


@dataclass(frozen=True, slots=True)
class DroppedRows:
    """The reasons for which rows were left out, and the rows that are shown."""

    reasons: list[LeftOutReason]
    examples: list[Example]
    more_examples: int


def find_dropped_rows(reason: str, sources: list[str], choice: RowChoice, looking: Looking, most: int) -> DroppedRows:
    """The rows that were left out for a reason (`all` for any) from these sources (none named: from all).

    Raises:
        Stop: no stage has left out a row yet, or none for this reason.
    """
    rows = [row for row in _read_left_out() if not sources or row["source"] in sources]
    if not rows:
        where = f"{INGESTED}, {CLEANED[0].parent} and {SPLIT}"
        raise Stop(f"no stage has left out a row ({where}); run `dvc repro split` if there is no data yet.")
    counts = Counter(row["reason"].split(" ")[0] for row in rows)
    if reason not in (ALL, *counts):
        listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        raise Stop(f"no row was left out for '{reason}'{suggest_name(reason, counts)} There are {listed}.")
    meant = [row for row in rows if reason in (ALL, row["reason"].split(" ")[0])]
    chosen = list(filter(choice.takes, meant))
    if not chosen:
        raise Stop(f"no row that was left out for '{reason}' is {choice}.")
    examples = [make_example(row, looking) for row in chosen[:most]]
    return DroppedRows(list_reasons(meant, looking.params), examples, max(0, len(chosen) - most))


def _read_left_out() -> Iterator[dict[str, Any]]:
    """The rows that left the way to training, in the order of the stages; clean has what ingest set aside too."""
    cleaned = [path for path in CLEANED if path.exists()]
    for path in (*(cleaned or [INGESTED]), SPLIT):
        if path.exists():
            yield from read_jsonl(path)
