"""Where in the text of a conversation the answers stand that are learnt from, and whether the template wrote them."""

import functools
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, is_learnt, make_messages
from tunelock.rendering.controls import compile_control_pattern
from tunelock.rendering.row_text import LOST_CALLS, RowText, match_content, write_row
from tunelock.rendering.template import TemplateRefusal, apply_template


class _AnswerSpan(NamedTuple):
    """Where an answer that is learnt from starts in the text, and where its end token ends."""

    begin: int
    end: int


def find_earlier_spans(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, shadow: str, thinking: str
) -> list[_AnswerSpan | None]:
    """Each answer before the last message that is to be learnt from; None where it cannot be.

    An answer is learnt where the text up to its end is that of its own row: as it would be asked for and answered.
    Qwen3 and DeepSeek R1 take the think block out of earlier turns, gpt-oss ends them with another token.
    """
    learnt = [turn for turn, message in enumerate(messages[:-1]) if is_learnt(message)]
    return [_find_earlier(tokenizer, messages[: turn + 1], text, shadow, thinking) for turn in learnt]


def find_last_span(tokenizer: PreTrainedTokenizerBase, row: RowText, shadow: str) -> _AnswerSpan:
    """The last answer.

    Raises:
        TemplateRefusal: the template puts no control token behind it.
    """
    end = _find_answer_end(tokenizer, row, shadow, len(row.text))
    if end is None:
        raise TemplateRefusal(
            "no_end_token",
            "the chat template puts no control token behind the answer, so the model would never learn to stop; set "
            "another `chat_template`, or name the token that ends a turn under `extra_special_tokens`.",
        )
    return _AnswerSpan(row.begin, end)


def _find_earlier(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, shadow: str, thinking: str
) -> _AnswerSpan | None:
    answer = messages[-1]
    if thinking == "none" and "tool_calls" not in answer:
        opening = apply_template(tokenizer, messages[:-1], True, thinking)
        ended = match_content(answer["content"], text, len(opening)) if text.startswith(opening) else None
        mark = _find_end_mark(tokenizer, tokenizer.chat_template)
        if ended is not None and mark and shadow.startswith(mark, ended):
            return _AnswerSpan(len(opening), ended + len(mark))
    try:
        own = write_row(tokenizer, messages, thinking)
    except TemplateRefusal as refusal:
        if refusal.reason == LOST_CALLS:
            raise
        return None
    end = _find_answer_end(tokenizer, own, shadow, len(own.text))
    return _AnswerSpan(own.begin, end) if end and text.startswith(own.text[:end]) else None


@functools.lru_cache(maxsize=4)
def _find_end_mark(tokenizer: PreTrainedTokenizerBase, _template: str) -> str | None:
    """What ends the last answer of a conversation in this template."""
    row = write_row(tokenizer, make_messages("a", "", "b"), "none")
    end = _find_answer_end(tokenizer, row, row.text, len(row.text))
    return row.text[row.content_end : end] if end else None


def _find_answer_end(tokenizer: PreTrainedTokenizerBase, row: RowText, shadow: str, stop: int) -> int | None:
    """Where the end token of a row's last answer ends: of one that calls tools the last control token before `stop`,
    for there may be some between the calls."""
    pattern = compile_control_pattern(tokenizer)
    if row.content_end is not None:
        end = pattern.match(shadow, row.content_end)
    else:
        end = max(pattern.finditer(shadow, row.begin, stop), key=lambda found: found.end(), default=None)
    return end.end() if end else None
