"""From messages to text and from text to tokens; control strings that people wrote stay plain text."""

import functools
import itertools
import json
import re
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, change_texts, find_tools, text_of
from tunelock.records.tool_calls import ToolCall
from tunelock.run.errors import Stop

CARRIED = ("name", "tool_call_id")  # what templates write of a tool's message, beside its content
STAND_IN = "\ue000"  # a private-use character: no template and no vocabulary gives it a meaning


class TemplateRefusal(Stop):
    """The chat template cannot say one conversation as it must be learnt; `reason` names the kind in one word."""

    def __init__(self, reason: str, sentence: str):
        super().__init__(sentence)
        self.reason = reason


def apply_template(tokenizer: PreTrainedTokenizerBase, messages: list[Message], generation: bool = False) -> str:
    """The chat template's text, before tokenising.

    Raises:
        TemplateRefusal: the template raises an error at these messages.
        Stop: there is no template.
    """
    if not tokenizer.chat_template:
        raise Stop("the base model's tokenizer has no chat template; use an instruct model.")
    said, tools = list(map(_spell_message, messages)), find_tools(messages)
    try:
        return tokenizer.apply_chat_template(
            said, tools=json.loads(tools) if tools else None, tokenize=False, add_generation_prompt=generation
        )
    except (TemplateError, TypeError, ValueError) as error:  # such as Gemma's, which takes no system message
        roles = ", ".join(message["role"] for message in said)
        raise TemplateRefusal(
            "template_refuses",
            f"the chat template refuses a conversation of {roles} ({error}); use another template.",
        ) from None


def _spell_message(message: Message) -> dict[str, Any]:
    """A message in the form in which chat templates take it
    (https://huggingface.co/docs/transformers/chat_extras#tools)."""
    spelt: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    spelt |= {key: message[key] for key in CARRIED if key in message}
    if message.get("tool_calls"):
        spelt["tool_calls"] = list(map(_spell_call, message["tool_calls"]))
    return spelt


def _spell_call(call: ToolCall) -> dict[str, Any]:
    """A call with its arguments as an object, for templates write them by `tojson`."""
    function = {"name": call["name"], "arguments": json.loads(call["arguments"])}
    return {"type": "function", "function": function} | ({"id": call["id"]} if "id" in call else {})


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
    count = sum(len(pattern.findall(text_of(message) + message.get("tools", ""))) for message in messages)
    if not count:
        return text, 0
    blot = functools.partial(blot_controls, tokenizer)
    return apply_template(tokenizer, [change_texts(message, blot) for message in messages], generation), count


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
