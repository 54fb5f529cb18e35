"""From messages to text, by the chat template, with reasoning where the template has its place for it."""

import functools
import json
from typing import Any, NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tunelock.records.reasoning import CLOSING, SWITCHES, join_reasoning
from tunelock.records.record import Message, find_tools
from tunelock.records.tool_calls import ToolCall
from tunelock.run.errors import Stop

CARRIED = ("name", "tool_call_id")  # what templates write of a tool's message, beside its content
# Keys of a message that templates read reasoning from: of Qwen3, GLM and Nemotron; of gpt-oss and LFM2; of Gemma 4.
REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_THOUGHT, _SAID = "\ue001", "\ue002"  # private-use characters: they stand in no template


class TemplateRefusal(Stop):
    """The chat template cannot say one conversation as it must be learnt; `reason` names the kind in one word."""

    def __init__(self, reason: str, sentence: str):
        super().__init__(sentence)
        self.reason = reason


class _ReasoningLayout(NamedTuple):
    """How a template writes reasoning: under which key of a message it looks for it (`content`: between tags in the
    text itself; None: it writes none), and what it puts before the reasoning and between that and the answer."""

    key: str | None
    opening: str
    closing: str


def apply_template(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], generation: bool = False, thinking: str = "none"
) -> str:
    """The chat template's text, before tokenising, for one of the ways of `thinking` (SWITCHES).

    Raises:
        TemplateRefusal: the template raises an error at these messages.
        Stop: there is no template.
    """
    if not tokenizer.chat_template:
        raise Stop("the base model's tokenizer has no chat template; use an instruct model.")
    key = find_reasoning_layout(tokenizer).key if any("reasoning" in message for message in messages) else None
    said, tools = [_spell_message(message, key) for message in messages], find_tools(messages)
    try:
        return _fill_template(tokenizer, said, json.loads(tools) if tools else None, generation, thinking)
    except (TemplateError, TypeError, ValueError) as error:  # such as Gemma's, which takes no system message
        roles = ", ".join(message["role"] for message in said)
        other = "put the system message into the first question, or " if "system" in roles else ""
        raise TemplateRefusal(
            "template_refuses",
            f"the chat template refuses a conversation of {roles} ({error}); {other}set another `chat_template`.",
        ) from None


def _fill_template(
    tokenizer: PreTrainedTokenizerBase, said: list[dict[str, Any]], tools: Any, generation: bool, thinking: str
) -> str:
    return tokenizer.apply_chat_template(
        said, tools=tools, tokenize=False, add_generation_prompt=generation, **SWITCHES[thinking]
    )


def find_reasoning_layout(tokenizer: PreTrainedTokenizerBase) -> _ReasoningLayout:
    """How the tokenizer's chat template writes reasoning, found by trying each key."""
    return _try_reasoning_keys(tokenizer, tokenizer.chat_template)


@functools.lru_cache(maxsize=4)
def _try_reasoning_keys(tokenizer: PreTrainedTokenizerBase, _template: str) -> _ReasoningLayout:
    answer = Message(role="assistant", content=_SAID, reasoning=_THOUGHT)
    for key in (*REASONING_KEYS, "content"):
        try:
            said = [{"role": "user", "content": "a"}, _spell_message(answer, key)]
            text = _fill_template(tokenizer, said, None, False, "keep")
        except (TemplateError, TypeError, ValueError):
            continue
        prompt = _fill_template(tokenizer, said[:1], None, True, "keep")
        before, _, behind = text.partition(_THOUGHT)
        closing, found, _ = behind.partition(_SAID)
        if found:
            return _ReasoningLayout(key, before.removeprefix(prompt) if before.startswith(prompt) else "", closing)
    return _ReasoningLayout(None, "", CLOSING)


def _spell_message(message: Message, key: str | None) -> dict[str, Any]:
    """A message in the form in which chat templates take it
    (https://huggingface.co/docs/transformers/chat_extras#tools), its reasoning under `key`."""
    spelt: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    spelt |= {carried: message[carried] for carried in CARRIED if carried in message}
    if "reasoning" in message and key == "content":
        spelt["content"] = join_reasoning(message)
    elif "reasoning" in message and key:
        spelt[key] = message["reasoning"]
    if message.get("tool_calls"):
        spelt["tool_calls"] = list(map(_spell_call, message["tool_calls"]))
    return spelt


def _spell_call(call: ToolCall) -> dict[str, Any]:
    """A call with its arguments as an object, for templates write them by `tojson`."""
    function = {"name": call["name"], "arguments": json.loads(call["arguments"])}
    return {"type": "function", "function": function} | ({"id": call["id"]} if "id" in call else {})
