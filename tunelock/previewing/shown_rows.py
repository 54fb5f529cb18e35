"""A row as a preview shows it: its messages, or its tokens and what the model learns from."""

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.previewing.reasons import explain_reason
from tunelock.records.record import Message, Record
from tunelock.rendering.controls import find_control_tokens
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import RenderedRow, Rendering, render_records
from tunelock.run.errors import Stop

UNNAMED = "preview"  # what a source is called that has no name yet


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


class Looking(NamedTuple):
    """How rows are looked at: the tokenizer or None, the rendering, all params, and whether token by token."""

    tokenizer: PreTrainedTokenizerBase | None
    rendering: Rendering
    params: dict[str, Any]
    each_token: bool = False


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
    if row["answers_not_learnt"]:
        remarks.append(f"earlier answers that the chat template makes context, not learnt: {row['answers_not_learnt']}")
    if row["reasoning_left_out"]:
        remarks.append(f"reasoning left out by thinking {looking.rendering.thinking}: {row['reasoning_left_out']}")
    if too_long:
        remarks.append(f"longer than max_length {looking.rendering.max_length}: set aside")
    pieces = tuple(_list_pieces(looking.tokenizer, row))
    return replace(
        example,
        tokens=len(row["input_ids"]),
        supervised_tokens=sum(label != IGNORE for label in row["labels"]),
        remarks=tuple(remarks),
        pieces=pieces,
        text=_list_tokens(looking.tokenizer, row) if looking.each_token else _mark_learnt(pieces),
    )


def _list_pieces(tokenizer: PreTrainedTokenizerBase, row: RenderedRow) -> Iterator[Piece]:
    """Runs of tokens that are alike. Text is decoded a run at a time, for a character may be several tokens."""
    controls = set(find_control_tokens(tokenizer).values())

    def describe(pair: tuple[int, int]) -> tuple[bool, bool]:
        return pair[1] != IGNORE, pair[0] in controls

    for (learnt, control), run in itertools.groupby(zip(row["input_ids"], row["labels"]), describe):
        yield Piece(tokenizer.decode([token for token, _ in run]), learnt, control)


def _mark_learnt(pieces: Iterable[Piece]) -> str:
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
