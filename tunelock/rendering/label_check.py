"""Whether the labels of rendered rows are the answers of their records: what is learnt is what was meant."""

import itertools

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, Record, is_learnt, is_text, text_of
from tunelock.rendering.answer_spans import holds_calls
from tunelock.rendering.conversation import IGNORE, find_end_token
from tunelock.rendering.rendering import RenderedRow, Rendering, select_messages


def find_mislabelled(
    tokenizer: PreTrainedTokenizerBase, records: list[Record], rows: list[RenderedRow], rendering: Rendering
) -> list[str]:
    """The ids of rows whose labels, decoded, are not the answers with their end tokens, no more and no less.

    White space does not count: templates trim it, and some tokenizers put some before a text. Of an answer that calls
    tools, whose syntax is the template's, the names and arguments must stand before the end token.
    """
    by_id = {record["id"]: record for record in records}
    found = []
    for row in rows:
        record = by_id[row["id"]]
        end = tokenizer.eos_token if is_text(record) else tokenizer.decode([find_end_token(tokenizer)])
        learnt = list(filter(is_learnt, select_messages(tokenizer, record, rendering)))
        labels = tokenizer.decode([label for label in row["labels"] if label != IGNORE])
        if not _are_answers(labels, learnt, end):
            found.append(row["id"])
    return found


def _are_answers(labels: str, learnt: list[Message], end: str) -> bool:
    """Whether decoded labels are these answers, one after the other, each with the end token."""
    pieces = iter(labels.split(end))
    for message in learnt:
        whole = itertools.islice(pieces, 1 + text_of(message).count(end))  # people may write what ends a turn
        if not _is_answer(end.join(whole), message):
            return False
    return [piece.strip() for piece in pieces] == [""]


def _is_answer(text: str, message: Message) -> bool:
    if "tool_calls" in message:
        return holds_calls(text, message)
    return _drop_space(text) == _drop_space(message["content"])


def _drop_space(text: str) -> str:
    return "".join(text.split())
