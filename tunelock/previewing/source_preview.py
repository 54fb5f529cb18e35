"""What raw data would become: formats by file, rows that are left out, and some records as the model sees them.

In a rendered record, what the model learns from stands between ⟦ and ⟧; the rest is read and not learnt.
"""

import itertools
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunelock.reading.reading import Source, look_at_source
from tunelock.records.record import Message, Record
from tunelock.rendering.rendering import IGNORE, RenderedRow, Rendering, render_records
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path

EXAMPLES = 3
MOST_ROWS = 10_000  # rows that are read, so that a large file answers at once


@dataclass(frozen=True, slots=True)
class Example:
    """One record: where it is from, its messages, and how it is rendered where there is a tokenizer."""

    file: str
    line: int
    task: str
    group: str | None
    messages: list[Message]
    tokens: int | None = None
    supervised_tokens: int | None = None
    remarks: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True)
class _Preview:
    """The format by file, how many rows are records, how many are left out by reason, and the first records."""

    formats: dict[str, str]
    records: int
    left_out: dict[str, int]
    examples: list[Example]


def make_source(path: str, revision: str | None, **options: Any) -> Source:
    """A source as the command line describes it: who only looks at a local file need not pin it."""
    if revision is None and Path(path).exists():
        revision = sha256_path(path)
    return Source(path=path, revision=revision, **options)


def preview_source(source: Source, tokenizer, rendering: Rendering, each_token: bool) -> _Preview:
    """Read the first rows of a source; without a tokenizer (None) the examples are not rendered."""
    first = look_at_source(source, MOST_ROWS)
    records = [row for row in first.rows if "status" not in row]
    left_out = Counter(row["reason"] for row in first.rows if "status" in row)
    examples = [_make_example(record, tokenizer, rendering, each_token) for record in records[:EXAMPLES]]
    return _Preview(first.formats, len(records), dict(sorted(left_out.items())), examples)


def _make_example(record: Record, tokenizer, rendering: Rendering, each_token: bool) -> Example:
    place = Example(record["file"], record["line"], record["task"], record["group"], record["messages"])
    if tokenizer is None:
        return place
    try:
        rows, too_long, _ = render_records(tokenizer, [record], rendering)
    except Stop as refusal:  # a record alone that the chat template cannot say
        return replace(place, remarks=(f"set aside: {refusal}",))
    row = (rows + too_long)[0]
    remarks = [f"turns left out by max_turns: {row['turns_left_out']}"] if row["turns_left_out"] else []
    remarks += [f"longer than max_length {rendering.max_length}: set aside"] if too_long else []
    supervised = sum(label != IGNORE for label in row["labels"])
    text = (_list_tokens if each_token else _mark_supervised)(tokenizer, row)
    tokens = len(row["input_ids"])
    return replace(place, tokens=tokens, supervised_tokens=supervised, remarks=tuple(remarks), text=text)


def _mark_supervised(tokenizer, row: RenderedRow) -> str:
    """The tokens as text, the supervised ones between ⟦ and ⟧."""
    pieces = []
    for supervised, run in itertools.groupby(zip(row["input_ids"], row["labels"]), lambda pair: pair[1] != IGNORE):
        text = tokenizer.decode([token for token, _ in run])
        pieces.append(f"⟦{text}⟧" if supervised else text)
    return "".join(pieces)


def _list_tokens(tokenizer, row: RenderedRow) -> str:
    """One token a line: its number, its text as JSON, and an asterisk where it is learnt from."""
    lines = []
    for token, label in zip(row["input_ids"], row["labels"]):
        text = json.dumps(tokenizer.decode([token]), ensure_ascii=False)
        lines.append(f"{token:>8} {'*' if label != IGNORE else ' '} {text}")
    return "\n".join(lines)


def format_preview(preview: _Preview) -> str:
    """A preview as a person reads it."""
    dropped = sum(preview.left_out.values())
    lines = [f"{name}: {kind}" for name, kind in preview.formats.items()]
    lines.append(f"{preview.records + dropped} rows read: {preview.records} records, {dropped} left out")
    lines += [f"    {reason}: {count}" for reason, count in preview.left_out.items()]
    for example in preview.examples:
        lines.append(f"\n--- {example.file}, row {example.line}, task {example.task}, group {example.group}")
        if example.text is None:
            lines += [*example.remarks, json.dumps(example.messages, indent=2, ensure_ascii=False)]
        else:
            counts = f"{example.tokens} tokens, {example.supervised_tokens} of them learnt from"
            lines += [", ".join([counts, *example.remarks]), example.text]
    return "\n".join(lines)
