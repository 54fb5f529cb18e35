"""Whether the labels of rendered rows are the answers of their records: what is learnt is what was meant."""

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, Record, is_learnt, is_text, text_of
from tunelock.rendering.answer_spans import holds_calls
from tunelock.rendering.controls import compile_control_pattern
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


def find_unused_tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Iterable[int], rows: Iterable[RenderedRow]
) -> list[str]:
    """Those of some tokens that stand in no row, so that training could not teach what they mean."""
    unused = dict.fromkeys(ids)
    for row in rows:
        if not unused:
            break
        for token in unused.keys() & set(row["input_ids"]):
            del unused[token]
    return tokenizer.convert_ids_to_tokens(list(unused))


def print_plain_controls(tokenizer: PreTrainedTokenizerBase, name: str, rows: Sequence[RenderedRow]) -> None:
    """Say on stderr which control strings the answers of `name` have, for they are learnt as plain text."""
    found, pattern = Counter[str](), compile_control_pattern(tokenizer)
    for row in rows:
        if row["controls"]:
            labels = [label for label in row["labels"] if label != IGNORE]
            found.update(set(pattern.findall(tokenizer.decode(labels, skip_special_tokens=True))))
    if found:
        counts = ", ".join(f"{token} ({count} rows)" for token, count in found.most_common())
        print(
            f"{name}: answers have control strings, which are learnt as plain text: {counts}; one that the chat "
            "template does not write becomes a token where extra_special_tokens names it",
            file=sys.stderr,
        )
