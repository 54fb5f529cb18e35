"""From messages to text and from text to tokens; control strings that people wrote stay plain text."""

import functools
import itertools
import re

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message
from tunelock.run.errors import Stop

STAND_IN = "\ue000"  # a private-use character: no template and no vocabulary gives it a meaning


def apply_template(tokenizer: PreTrainedTokenizerBase, messages: list[Message], generation: bool = False) -> str:
    """The chat template's text, before tokenising."""
    if not tokenizer.chat_template:
        raise Stop("the base model's tokenizer has no chat template; use an instruct model.")
    said = [{"role": message["role"], "content": message["content"]} for message in messages]
    try:
        return tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=generation)
    except TemplateError as error:  # such as Gemma's, which takes no system message
        roles = ", ".join(message["role"] for message in said)
        raise Stop(f"the chat template refuses a conversation of {roles} ({error}); use another template.") from None


@functools.lru_cache(maxsize=4)
def compile_control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """Matches the strings that the tokenizer turns into control tokens."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    return re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))


def hide_controls(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, generation: bool = False
) -> tuple[str, int]:
    """`text` with the control strings of the messages blotted out, and how many there were.

    What still looks like a control string in the shadow is the template's own.
    """
    pattern = compile_control_pattern(tokenizer)
    count = sum(len(pattern.findall(message["content"])) for message in messages)
    if not count:
        return text, 0
    blotted: list[Message] = []
    for message in messages:
        copy = message.copy()
        copy["content"] = blot_controls(tokenizer, message["content"])
        blotted.append(copy)
    return apply_template(tokenizer, blotted, generation), count


def blot_controls(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text of the same length without its control strings."""
    return compile_control_pattern(tokenizer).sub(lambda found: STAND_IN * len(found[0]), text)


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, shadow: str) -> tuple[list[int], list[int], list[int]]:
    """Tokenise `text`; only what is a control string in `shadow` becomes a control token.

    Returns:
        The token ids, and for each the character positions in `text` where it starts and ends.
    """
    if shadow == text:
        pieces = [(0, len(text), False)]
    else:
        spans = (found.span() for found in compile_control_pattern(tokenizer).finditer(shadow))
        cuts = [0, *itertools.chain(*spans), len(text)]
        pieces = [(start, stop, number % 2 == 0) for number, (start, stop) in enumerate(itertools.pairwise(cuts))]
    ids, starts, ends = [], [], []
    for start, stop, plain in pieces:
        tokenizer.backend_tokenizer.encode_special_tokens = plain
        piece = tokenizer.backend_tokenizer.encode(text[start:stop], add_special_tokens=False)
        ids += piece.ids
        starts += [start + a for a, _ in piece.offsets]
        ends += [start + b for _, b in piece.offsets]
    tokenizer.backend_tokenizer.encode_special_tokens = False
    return ids, starts, ends
