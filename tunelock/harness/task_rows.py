"""The rows of our tasks for lm-evaluation-harness, out of a split and of what `stages.evaluate` found on it."""

from collections import Counter
from typing import NamedTuple

from tunelock.records.record import Message, Record, is_text, replace_answer
from tunelock.records.scored_row import ScoredRow
from tunelock.rendering.answer_spans import find_last_span
from tunelock.rendering.controls import count_controls
from tunelock.rendering.conversation import find_end_token
from tunelock.rendering.rendering import Rendering, select_messages
from tunelock.rendering.row_text import write_prompt, write_row
from tunelock.rendering.template import apply_template
from tunelock.run.errors import Stop


class _Documents(NamedTuple):
    """The rows of our two tasks, and how many records are in neither, by reason."""

    choice: list[dict]
    perplexity: list[dict]
    left_out: Counter


def make_documents(records: list[Record], rows: list[ScoredRow], tokenizer, rendering: Rendering) -> _Documents:
    """What the harness gets of a split.

    Args:
        records: of a split (`tunelock.records.record`).
        rows: ours of the same split (`stages.evaluate`): tokens of each answer and, where there are any, its choices.

    A task of the harness has one question with at most a system message before it, and the harness cannot be told
    that a control string in a text is to be read as plain text.
    """
    ours = {row["id"]: row for row in rows}
    missing = [record["id"] for record in records if record["id"] not in ours]
    if missing:
        raise Stop(f"{missing[0]} has no row in models/evaluation; run `dvc repro evaluate` to score the split again.")
    choice, perplexity, left_out = [], [], Counter()
    for record in records:
        messages, row = select_messages(tokenizer, record, rendering), ours[record["id"]]
        reason = _find_obstacle(tokenizer, record, messages, rendering.thinking)
        if reason:
            left_out[reason] += 1
            continue
        system = messages[0]["content"] if messages[0]["role"] == "system" else ""
        asked = {"id": record["id"], "system": system, "question": messages[-2]["content"]}
        answer = _render_answer(tokenizer, messages, rendering.thinking)
        perplexity.append({**asked, "answer": answer.text + answer.end, "tokens": row["tokens"]})
        if "choices" in row:
            answered = [replace_answer(messages, text) for text in row["choices"]]
            texts = [_render_answer(tokenizer, some, rendering.thinking).text for some in answered]
            choice.append({**asked, "choices": texts, "right": row["right"]})
    return _Documents(choice, perplexity, left_out)


def _find_obstacle(tokenizer, record: Record, messages: list[Message], thinking: str) -> str | None:
    """Why a record cannot be a row of a task, or None."""
    if is_text(record):
        return "raw text"
    if [message["role"] for message in messages if message["role"] != "system"] != ["user", "assistant"]:
        return "several turns"
    if "tools" in messages[0] or "tool_calls" in messages[-1]:
        return "tools"
    if count_controls(tokenizer, messages):
        return "control strings in a text"
    asked = apply_template(tokenizer, messages[:-1], True, thinking)
    if write_prompt(tokenizer, messages[:-1], thinking) != asked:
        return "what opens an answer without thinking"
    return None


class _Answer(NamedTuple):
    """An answer as the chat template puts it, and the end token behind it."""

    text: str
    end: str


def _render_answer(tokenizer, messages: list[Message], thinking: str) -> _Answer:
    """The last answer of a conversation; some templates trim it, some put a space before it."""
    row = write_row(tokenizer, messages, thinking)
    begin, stop = find_last_span(tokenizer, row, row.text)
    end = tokenizer.decode([find_end_token(tokenizer)])
    return _Answer(row.text[begin:stop].removesuffix(end), end)
