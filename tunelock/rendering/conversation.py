"""From the messages of a conversation to tokens and labels, by the chat template: the only place that does it."""

import bisect
import functools
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, drop_tools, find_tools, make_messages
from tunelock.rendering.answer_spans import find_earlier_spans, find_last_span
from tunelock.rendering.controls import blot_controls, compile_control_pattern, hide_controls
from tunelock.rendering.encoding import encode_text
from tunelock.rendering.row_text import WAY_OUT, write_prompt, write_row
from tunelock.rendering.template import TemplateRefusal, apply_template
from tunelock.run.errors import Stop

IGNORE = -100  # torch.nn.CrossEntropyLoss(ignore_index) and every Hugging Face collator


class Rendered(NamedTuple):
    """One conversation as tokens.

    `labels` has the length of `input_ids` and is `IGNORE` outside the answers that are learnt from and their end
    tokens; `input_ids[:prompt_length]` is the prompt of the last of them, which generation starts from; `controls`
    counts control strings that stood in the texts and were encoded as plain text; `answers_not_learnt` counts earlier
    answers that the template writes otherwise than the model would be asked for them and answer.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    controls: int
    answers_not_learnt: int


def render_messages(tokenizer: PreTrainedTokenizerBase, messages: list[Message], thinking: str = "none") -> Rendered:
    """Render a conversation that ends with the assistant's answer, or a raw text.

    The answers of the assistant are supervised, each with its end token, but for those of weight 0 and those that stand
    in the row as context (`tunelock.rendering.answer_spans`); of a raw text, everything is.

    Raises:
        TemplateRefusal: the template leaves a message or the tools out, or does not put the last answer, as it is,
            behind the prompt that asks for it and a control token behind it.
        Stop: the tokenizer has no chat template.
    """
    if messages[0]["role"] == "text":
        return _render_text(tokenizer, messages[0]["content"])
    row = write_row(tokenizer, messages, thinking)
    _check_tools(tokenizer, messages, row.said, thinking)
    shadow, controls = hide_controls(
        tokenizer, messages, row.text, lambda blotted: write_row(tokenizer, blotted, thinking).text
    )
    earlier = find_earlier_spans(tokenizer, messages, row.text, shadow, thinking)
    spans = [*filter(None, earlier), find_last_span(tokenizer, row, shadow)]
    input_ids, starts, firsts = encode_text(tokenizer, row.text, shadow, [begin for begin, _ in spans])
    labels = [IGNORE] * len(input_ids)
    for first, (_, end) in zip(firsts, spans, strict=True):
        last = bisect.bisect_left(starts, end)
        labels[first:last] = input_ids[first:last]
    return Rendered(input_ids, labels, firsts[-1], controls, earlier.count(None))


def _check_tools(tokenizer: PreTrainedTokenizerBase, messages: list[Message], said: str, thinking: str) -> None:
    """Refuse a template that leaves out the tools."""
    if not find_tools(messages):
        return
    if apply_template(tokenizer, drop_tools(messages), thinking=thinking) == said:
        raise TemplateRefusal("template_without_tools", f"the chat template leaves out the tools; {WAY_OUT}.")


def _render_text(tokenizer: PreTrainedTokenizerBase, text: str) -> Rendered:
    """A raw text and the tokenizer's end-of-sequence token, all of it supervised; no template takes part.

    What the tokenizer itself puts before a text, such as Llama's begin token, goes before it, as in pre-training.
    """
    if tokenizer.eos_token_id is None:
        raise Stop("the base model's tokenizer has no end-of-sequence token, so texts would have no end; set one.")
    opening, controls = _find_text_opening(tokenizer), len(compile_control_pattern(tokenizer).findall(text))
    learnt = [*encode_text(tokenizer, text, blot_controls(tokenizer, text)).ids, tokenizer.eos_token_id]
    return Rendered(opening + learnt, [IGNORE] * len(opening) + learnt, 0, controls, 0)


@functools.lru_cache(maxsize=4)
def _find_text_opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The control tokens that the tokenizer puts before any text; most put none."""
    bare, whole = (tokenizer.backend_tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
    return whole[: whole.index(bare[0])]


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message], thinking: str = "none") -> list[int]:
    """The tokens of a conversation that waits for the assistant's answer: those that it has before that answer."""
    text = write_prompt(tokenizer, messages, thinking)
    shadow, _ = hide_controls(tokenizer, messages, text, lambda blotted: write_prompt(tokenizer, blotted, thinking))
    spans = filter(None, find_earlier_spans(tokenizer, messages, text, shadow, thinking))
    return encode_text(tokenizer, text, shadow, [begin for begin, _ in spans]).ids


def find_end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The control token that ends the assistant's turn in this template, where generation stops."""
    rendered = render_messages(tokenizer, make_messages("a", "", "b"))
    return [label for label in rendered.labels if label != IGNORE][-1]
