"""From messages to text, by the chat template."""

import json
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, find_tools
from tunelock.records.tool_calls import ToolCall
from tunelock.run.errors import Stop

CARRIED = ("name", "tool_call_id")  # what templates write of a tool's message, beside its content


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
