"""From records to rows of tokens and labels: the one rendering of pilot, train, evaluate, chat and package."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tunelock.records.record import (
    Message,
    add_tools,
    count_reasoning,
    count_turns,
    drop_reasoning,
    drop_tools,
    find_tools,
    keep_last_turns,
    keep_learnt_part,
    text_of,
)
from tunelock.rendering.conversation import render_messages, render_prompt
from tunelock.rendering.long_rows import count_cut_characters, fit_context
from tunelock.rendering.template import TemplateRefusal
from tunelock.run.errors import Stop

RENDERING_PARAMS = ("system_prompt", "max_length", "max_turns", "long_rows", "thinking")


@dataclass(frozen=True, slots=True)
class Rendering:
    """How records become tokens, by the params of the same names.

    Attributes:
        max_length: the most tokens of a row.
        system_prompt: goes first where a record has no system message of its own.
        max_turns: keeps the last questions of a long conversation; None keeps all.
        long_rows: `set_aside` leaves a row above `max_length` out whole, `cut_context` cuts its context so that it
            fits (`tunelock.rendering.long_rows`) and leaves out what still does not.
        thinking: `none` leaves reasoning out and asks without it, `keep` learns it, `empty` leaves it out and learns to
            write none when it is asked for (`tunelock.rendering.row_text`).
    """

    max_length: int
    system_prompt: str | None = None
    max_turns: int | None = None
    long_rows: str = "set_aside"
    thinking: str = "none"

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Rendering":
        """Pick them out of all the params; a params.yaml that is older than one of them has its default."""
        return cls(**{key: params[key] for key in RENDERING_PARAMS if key in params})


class RenderedRow(TypedDict):
    """A record as tokens: the fields of `Rendered`, with the record's id, how many questions `max_turns` cost it, how
    many characters of its context were cut, and how many of its answers lost their reasoning.

    `weight` is what the loss of the row is multiplied by, absent for 1. `task` and `source` are those of the record,
    where training asks for them.
    """

    id: str
    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    controls: int
    answers_not_learnt: int
    turns_left_out: int
    context_cut: int
    reasoning_left_out: int
    weight: NotRequired[float]
    task: NotRequired[str]
    source: NotRequired[str]


class RefusedRecord(NamedTuple):
    """A record that the chat template cannot say: the word and the sentence why not."""

    record: Mapping[str, Any]
    reason: str
    why: str


class RenderedRecords(NamedTuple):
    """The rows that fit into `max_length`, those that do not, and the records that the chat template cannot say; each
    in the order of their records."""

    rows: list[RenderedRow]
    too_long: list[RenderedRow]
    refused: list[RefusedRecord]


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder on disk."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def select_messages(
    tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any], rendering: Rendering
) -> list[Message]:
    """The chat messages of a record as the model sees them: up to the last answer that is learnt from, with the system
    prompt first, the context of a long row cut where `long_rows` says so."""
    return _fit_messages(tokenizer, _select_whole(record, rendering), rendering)


def _fit_messages(tokenizer: PreTrainedTokenizerBase, messages: list[Message], rendering: Rendering) -> list[Message]:
    if rendering.long_rows != "cut_context" or messages[0]["role"] == "text":
        return messages
    prompt, answer = len(render_prompt(tokenizer, messages[:-1], rendering.thinking)), 0
    if text_of(messages[-1]):  # empty in a chat, where it is still to come
        answer = len(render_messages(tokenizer, messages, rendering.thinking).input_ids) - prompt
    count = functools.partial(_count_tokens, tokenizer, rendering.thinking)
    return fit_context(messages, rendering.max_length, answer, count)


def _count_tokens(tokenizer: PreTrainedTokenizerBase, thinking: str, prompt: list[Message]) -> int:
    return len(render_prompt(tokenizer, prompt, thinking))


def _select_whole(record: Mapping[str, Any], rendering: Rendering) -> list[Message]:
    """As `select_messages`, nothing of a message cut."""
    messages = keep_last_turns(keep_learnt_part(record["messages"]), rendering.max_turns)
    if rendering.thinking != "keep" and count_reasoning(messages):
        messages = drop_reasoning(messages)
    if not rendering.system_prompt or messages[0]["role"] in ("system", "text"):
        return messages
    opening = Message(role="system", content=rendering.system_prompt)
    return add_tools([opening, *drop_tools(messages)], find_tools(messages))


def render_records(
    tokenizer: PreTrainedTokenizerBase, records: Iterable[Mapping[str, Any]], rendering: Rendering
) -> RenderedRecords:
    """Render records into rows.

    No answer is cut: one without its end would teach the model not to stop.

    Raises:
        Stop: the template can say none of the records.
    """
    rows, too_long, refused = [], [], []
    for record in records:
        whole = _select_whole(record, rendering)
        try:
            messages = _fit_messages(tokenizer, whole, rendering)
            rendered = render_messages(tokenizer, messages, rendering.thinking)
        except TemplateRefusal as refusal:
            refused.append(RefusedRecord(record, refusal.reason, str(refusal)))
            continue
        learnt = keep_learnt_part(record["messages"])
        counts = {
            "turns_left_out": count_turns(learnt) - count_turns(messages),
            "context_cut": count_cut_characters(whole, messages),
            "reasoning_left_out": count_reasoning(learnt) - count_reasoning(messages),
        }
        row = cast(RenderedRow, {"id": record["id"], **rendered._asdict(), **counts})
        (rows if len(rendered.input_ids) <= rendering.max_length else too_long).append(row)
    if refused and not rows and not too_long:
        raise Stop(refused[0].why)
    return RenderedRecords(rows, too_long, refused)
