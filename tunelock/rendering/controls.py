"""Control strings, which a tokenizer turns into control tokens: those that people wrote stay plain text."""

import functools
import re
from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, change_texts, text_of
from tunelock.rendering.template import TemplateRefusal

STAND_IN = "~"  # no template gives it a meaning, and JSON and Python write it as it is


@functools.lru_cache(maxsize=4)
def find_control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The strings that the tokenizer turns into control tokens, with the ids of those; the longest first."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    ordered = sorted(special | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token))
    return {token: tokenizer.convert_tokens_to_ids(token) for token in ordered}


@functools.lru_cache(maxsize=4)
def compile_control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """Matches the strings that the tokenizer turns into control tokens."""
    return re.compile("|".join(map(re.escape, find_control_tokens(tokenizer))))


def count_controls(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> int:
    """How many control strings stand in what the messages say."""
    pattern = compile_control_pattern(tokenizer)
    said = (text_of(message) + message.get("reasoning", "") + message.get("tools", "") for message in messages)
    return sum(len(pattern.findall(text)) for text in said)


def hide_controls(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, write: Callable[[list[Message]], str]
) -> tuple[str, int]:
    """`text` with the control strings of the messages blotted out, and how many there were.

    `write` is what made `text` of the messages. What still looks like a control string in the shadow is the template's
    own.

    Raises:
        TemplateRefusal: the template says something else where such a string is missing.
    """
    count = count_controls(tokenizer, messages)
    if not count:
        return text, 0
    blot = functools.partial(blot_controls, tokenizer)
    shadow = write([change_texts(message, blot) for message in messages])
    if len(shadow) != len(text) or any(one != other != STAND_IN for one, other in zip(text, shadow)):
        raise TemplateRefusal(
            "control_string_rules_template",
            "the chat template goes by a control string that stands in a message; take it out of the text.",
        )
    return shadow, count


def blot_controls(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text of the same length without its control strings."""
    return compile_control_pattern(tokenizer).sub(lambda found: STAND_IN * len(found[0]), text)
