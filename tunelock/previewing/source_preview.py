"""What raw data would become: formats by file, rows that are left out, lengths, records as the model sees them."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.previewing.length_histogram import Lengths, summarise_lengths_of_rows
from tunelock.previewing.reasons import Reason, explain_reason
from tunelock.previewing.row_choice import RowChoice
from tunelock.reading.reading import look_at_source, read_file_records
from tunelock.reading.shape import Source
from tunelock.reading.sources import find_files
from tunelock.reading.unused_columns import list_as_dicts, suggest_name
from tunelock.records.record import LeftOutRow, Message, Record, whole_text_of
from tunelock.rendering.rendering import IGNORE, RenderedRow, Rendering, render_records
from tunelock.rendering.row_lengths import measure_row_lengths
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path

UNNAMED = "preview"
EXAMPLES = 3  # rows that are shown where nothing is asked for
MOST_ROWS = 10_000  # rows that are read, so that a large file answers at once
MEASURED = 1000  # rows whose tokens are counted
RAW_SHOWN = 160  # characters of a row that is left out
LISTED = 12  # tasks that are named where one is not found


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of tokens as text: learnt from or read alone, and whether it is a control token."""

    text: str
    learnt: bool
    control: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One row: where it is from, its messages, and how it is rendered where there is a tokenizer.

    A row that is left out has its beginning in `raw`, and the reason in words among the remarks.
    """

    file: str
    line: int
    task: str | None = None
    group: str | None = None
    id: str | None = None
    messages: list[Message] = field(default_factory=list)
    raw: str | None = None
    tokens: int | None = None
    supervised_tokens: int | None = None
    remarks: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOutReason:
    """How many rows are left out for a reason, the reason in words, the param that rules it, and the first such row."""

    reason: str
    rows: int
    words: str
    ruled_by: str | None
    example: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The format by file, how many rows are records, which are left out and why, unused columns, lengths, and rows."""

    formats: dict[str, str]
    records: int
    left_out: dict[str, int]
    reasons: list[LeftOutReason]
    unused: list[dict[str, Any]]
    lengths: list[Lengths]
    examples: list[Example]
    more_rows: bool = False  # than were read
    more_examples: int = 0  # rows that were asked for and are not shown


class Looking(NamedTuple):
    """How rows are looked at: the tokenizer or None, the rendering, all params, and whether token by token."""

    tokenizer: PreTrainedTokenizerBase | None
    rendering: Rendering
    params: dict[str, Any]
    each_token: bool = False


def make_source(path: str, revision: str | None, **options: Any) -> Source:
    """A source as the command line describes it: who only looks at a local file need not pin it."""
    if revision is None and Path(path).exists():
        revision = sha256_path(path)
    return Source(path=path, revision=revision, **options)


def preview_source(name: str, source: Source, looking: Looking, choice: RowChoice, most: int) -> Preview:
    """Read the first rows of a source, and the rows that are asked for wherever they stand.

    Args:
        name: of the source, of which ids begin with it; UNNAMED for what is none yet.

    Raises:
        Stop: none of the rows that are asked for is there.
    """
    first = look_at_source(source, MOST_ROWS + 1, name)
    rows = first.rows[:MOST_ROWS]
    records: list[Record] = [row for row in rows if "status" not in row]
    chosen = list(filter(choice.takes, records if choice.is_open else rows))
    if not choice.is_open and len(first.rows) > MOST_ROWS:
        chosen = list(itertools.islice(_find_rows(name, source, choice), most + 1))
    if not choice.is_open and not chosen:
        raise Stop(_describe_absence(source, choice, rows))
    left_out = [row for row in rows if "status" in row]
    return Preview(
        formats=first.formats,
        records=len(records),
        left_out=dict(sorted(Counter(row["reason"] for row in left_out).items())),
        reasons=explain_left_out(left_out, looking.params),
        unused=list_as_dicts(first.unused),
        lengths=_measure_lengths(records, looking),
        examples=[make_example(row, looking) for row in chosen[:most]],
        more_rows=len(first.rows) > MOST_ROWS,
        more_examples=0 if choice.is_open else max(0, len(chosen) - most),
    )


def _find_rows(name: str, source: Source, choice: RowChoice) -> Iterator[Record | LeftOutRow]:
    """The rows of a source that are asked for, read no further than need be."""
    for file in find_files(source.path, source.revision):
        for row in read_file_records(name, source, file, lambda _read: None):
            if choice.last_row is not None and row["line"] > choice.last_row:
                break
            if choice.takes(row):
                yield row


def _describe_absence(source: Source, choice: RowChoice, rows: list[Record | LeftOutRow]) -> str:
    """That no row is as asked for, and what there is."""
    said = f"no row of {source.path} is {choice}"
    if choice.task is not None:
        tasks = sorted({row["task"] for row in rows if "task" in row})
        listed = ", ".join(tasks[:LISTED]) + (", …" if tasks[LISTED:] else "")
        return f"{said}{suggest_name(choice.task, tasks)} Its tasks are {listed}."
    if choice.ranges and rows:
        return f"{said}; its rows are {min(row['line'] for row in rows)} to {max(row['line'] for row in rows)}."
    return f"{said}."


def explain_left_out(rows: Iterable[Any], params: dict[str, Any]) -> list[LeftOutReason]:
    """The reasons for which rows are left out, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for row in rows:
        counts[row["reason"]] += 1
        examples.setdefault(row["reason"], f"{row['file']}:{row['line']}: {_quote_beginning(row)}")
    found = []
    for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        explained: Reason = explain_reason(reason, params)
        found.append(LeftOutReason(reason, count, *explained, examples[reason]))
    return found


def _quote_beginning(row: Any) -> str:
    """The beginning of a row that is left out, on one line."""
    text = " ".join((row["raw"] if "raw" in row else whole_text_of(row)).split())
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= RAW_SHOWN else f"{text[:RAW_SHOWN]}…"


def _measure_lengths(records: list[Record], looking: Looking) -> list[Lengths]:
    """Lengths in characters, and in tokens where there is a tokenizer that can say the rows."""
    found = [summarise_lengths_of_rows("characters", (len(whole_text_of(record)) for record in records), None)]
    if looking.tokenizer is not None and records:
        try:
            measured = measure_row_lengths(records[:MEASURED], looking.tokenizer, looking.rendering, "the rows")
        except Stop:  # the examples say why
            return [lengths for lengths in found if lengths]
        found.append(summarise_lengths_of_rows("tokens", measured.lengths, looking.rendering.max_length))
    return [lengths for lengths in found if lengths]


def make_example(row: Any, looking: Looking) -> Example:
    """A row as it is shown, a record or one that is left out."""
    name = row["id"] if "id" in row and row["source"] != UNNAMED else None
    example = Example(row["file"], row["line"], row.get("task"), row.get("group"), name)
    if "reason" in row:
        words, ruled_by = explain_reason(row["reason"], looking.params)
        because = (f"because of {row['because']}",) if "because" in row else ()
        remark = f"left out, {row['reason']}: {words}" + (f" ({ruled_by})" if ruled_by else "")
        example = replace(example, remarks=(remark, *because))
    if "raw" in row:
        return replace(example, raw=row["raw"])
    example = replace(example, messages=row["messages"])
    return example if looking.tokenizer is None else _render_example(example, row, looking)


def _render_example(example: Example, record: Record, looking: Looking) -> Example:
    try:
        rows, too_long, _ = render_records(looking.tokenizer, [record], looking.rendering)
    except Stop as refusal:  # a record alone that the chat template cannot say
        return replace(example, remarks=(*example.remarks, f"set aside: {refusal}"))
    row, remarks = (rows + too_long)[0], list(example.remarks)
    if row["turns_left_out"]:
        remarks.append(f"turns left out by max_turns: {row['turns_left_out']}")
    if row["context_cut"]:
        remarks.append(f"characters of the context cut by long_rows: {row['context_cut']}")
    if too_long:
        remarks.append(f"longer than max_length {looking.rendering.max_length}: set aside")
    pieces = tuple(_list_pieces(looking.tokenizer, row))
    return replace(
        example,
        tokens=len(row["input_ids"]),
        supervised_tokens=sum(label != IGNORE for label in row["labels"]),
        remarks=tuple(remarks),
        pieces=pieces,
        text=_list_tokens(looking.tokenizer, row) if looking.each_token else mark_learnt(pieces),
    )


def _list_pieces(tokenizer: PreTrainedTokenizerBase, row: RenderedRow) -> Iterator[Piece]:
    """Runs of tokens that are alike. Text is decoded a run at a time, for a character may be several tokens."""
    controls = set(tokenizer.all_special_ids) | {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }

    def describe(pair: tuple[int, int]) -> tuple[bool, bool]:
        return pair[1] != IGNORE, pair[0] in controls

    for (learnt, control), run in itertools.groupby(zip(row["input_ids"], row["labels"]), describe):
        yield Piece(tokenizer.decode([token for token, _ in run]), learnt, control)


def mark_learnt(pieces: Iterable[Piece]) -> str:
    """The text of pieces, what is learnt from between ⟦ and ⟧."""
    parts = []
    for learnt, run in itertools.groupby(pieces, lambda piece: piece.learnt):
        text = "".join(piece.text for piece in run)
        parts.append(f"⟦{text}⟧" if learnt else text)
    return "".join(parts)


def _list_tokens(tokenizer: PreTrainedTokenizerBase, row: RenderedRow) -> str:
    """One token a line: its number, its text as JSON, and an asterisk where it is learnt from."""
    lines = []
    for token, label in zip(row["input_ids"], row["labels"]):
        text = json.dumps(tokenizer.decode([token]), ensure_ascii=False)
        lines.append(f"{token:>8} {'*' if label != IGNORE else ' '} {text}")
    return "\n".join(lines)
