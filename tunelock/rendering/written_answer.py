"""What a model wrote, parted into its reasoning and its answer: metrics read the answer alone."""

import functools

from transformers import PreTrainedTokenizerBase

from tunelock.records.reasoning import OPENING_TAG, Thought
from tunelock.records.record import make_messages
from tunelock.rendering.row_text import write_row
from tunelock.rendering.template import TemplateRefusal, apply_template, find_reasoning_layout
from tunelock.rendering.vocabulary import decode_answer


def split_written(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], end_ids: tuple[int, ...], thinking: str
) -> Thought:
    """The reasoning and the answer in the tokens that a model wrote; of reasoning that never ended, no answer is left.

    Asked without thinking, all of it is the answer.
    """
    whole = decode_answer(tokenizer, tokens, end_ids)
    if thinking == "none":
        return Thought(None, whole)
    mark, text = _find_mark(tokenizer, tokenizer.chat_template), tokenizer.decode(tokens)
    if mark in text:
        first = _count_tokens_to(tokenizer, tokens, mark)
        thought = tokenizer.decode(tokens[:first], skip_special_tokens=True).strip()
        return Thought(thought, decode_answer(tokenizer, tokens[first:], end_ids))
    prompt = apply_template(tokenizer, make_messages("a", "", "b")[:1], True, thinking)
    opening = find_reasoning_layout(tokenizer).opening.strip() or OPENING_TAG
    if prompt.rstrip().endswith(opening) or text.lstrip().startswith(opening):
        return Thought(whole.strip(), "")
    return Thought(None, whole)


def _count_tokens_to(tokenizer: PreTrainedTokenizerBase, tokens: list[int], mark: str) -> int:
    """The fewest tokens whose text has the mark."""
    low, high = 1, len(tokens)
    while low < high:
        middle = (low + high) // 2
        if mark in tokenizer.decode(tokens[:middle]):
            high = middle
        else:
            low = middle + 1
    return low


@functools.lru_cache(maxsize=4)
def _find_mark(tokenizer: PreTrainedTokenizerBase, _template: str) -> str:
    """What stands before an answer, with reasoning and without it: a closing tag, or what opens gpt-oss's channel."""
    closing = find_reasoning_layout(tokenizer).closing
    try:
        row = write_row(tokenizer, make_messages("a", "", "b"), "empty")
    except TemplateRefusal:
        return closing.strip()
    opened = row.text[row.begin : row.content_end].removesuffix("b")
    shared = next((closing[place:] for place in range(len(closing)) if opened.endswith(closing[place:])), "")
    return shared.strip() or closing.strip()
