"""From text to tokens; control strings that people wrote stay plain text."""

import functools
import itertools
import re
from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, change_texts, text_of

STAND_IN = "\ue000"  # a private-use character: no template and no vocabulary gives it a meaning


@functools.lru_cache(maxsize=4)
def compile_control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """Matches the strings that the tokenizer turns into control tokens."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    return re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))


def hide_controls(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, write: Callable[[list[Message]], str]
) -> tuple[str, int]:
    """`text` with the control strings of the messages blotted out, and how many there were.

    `write` is what made `text` of the messages. What still looks like a control string in the shadow is the template's
    own.
    """
    pattern = compile_control_pattern(tokenizer)
    count = sum(len(pattern.findall(text_of(message) + message.get("tools", ""))) for message in messages)
    if not count:
        return text, 0
    blot = functools.partial(blot_controls, tokenizer)
    return write([change_texts(message, blot) for message in messages]), count


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
