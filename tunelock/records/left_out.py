"""A table for the terminal of the rows that a stage leaves out: by reason, with the param that rules it and a row."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EXAMPLE_CHARS = 70  # of a row's text; with its place before it the line fits most terminals
COLUMNS = ("reason", "rows", "share", "ruled by")


@dataclass(slots=True)
class LeftOutTally:
    """How many rows were left out by reason, and the first row of each reason."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def note_row(self, reason: str, row: Mapping[str, Any]) -> None:
        """Count one row."""
        self.counts[reason] += 1
        self.examples.setdefault(reason, row)

    def note_rows(self, reason: str, count: int, example: Mapping[str, Any]) -> None:
        """Count several rows, of which one is shown."""
        self.counts[reason] += count
        self.examples.setdefault(reason, example)


def format_left_out(title: str, tally: LeftOutTally, rows: int, rulings: Mapping[str, str]) -> str:
    """The table, the most frequent reason first; `rulings` says by reason which param rules it, as `key: value`.

    Below each reason stands its first row: id, file, line and the beginning of its text. Shares are of `rows`.
    """
    cells = [COLUMNS]
    ordered = sorted(tally.counts.items(), key=lambda item: (-item[1], item[0]))
    for reason, count in ordered:
        cells.append((reason, f"{count:,}", _format_share(count, rows), rulings.get(reason, "no param")))
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [f"{title}: {tally.counts.total():,} of {rows:,} rows ({_format_share(tally.counts.total(), rows)})"]
    for reason, number, share, ruling in cells:
        lines.append(f"  {reason:<{widths[0]}}  {number:>{widths[1]}}  {share:>{widths[2]}}  {ruling}")
        if reason in tally.examples:
            lines.append(f"      {_describe_example(tally.examples[reason])}")
    return "\n".join(lines)


def _format_share(count: int, rows: int) -> str:
    """`12.0 %`; a few of many rows are not none."""
    percent = 100 * count / max(rows, 1)
    return f"{percent:.1f} %" if not count or percent >= 0.05 else "< 0.1 %"


def _describe_example(row: Mapping[str, Any]) -> str:
    """The id of a row if it has one, its file and line, and the beginning of its text."""
    text = row["raw"] if "raw" in row else _find_first_text(row["messages"])
    shown = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    shown = shown if len(shown) <= EXAMPLE_CHARS else f"{shown[:EXAMPLE_CHARS]}…"
    name = f"{row['id']}, " if "id" in row else ""
    return f"e.g. {name}{row['file']}:{row['line']}: {shown}"


def _find_first_text(messages: list[Mapping[str, Any]]) -> str:
    """The first message that is not the system's."""
    return next((message["content"] for message in messages if message["role"] != "system"), "")
