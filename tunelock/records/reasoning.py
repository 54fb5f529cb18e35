"""What a model thinks before its answer: how people keep it in the text of an answer, and the way back."""

import re
from typing import NamedTuple

from tunelock.records.record import Message

# What the switches of published templates are set to, by `thinking`: `enable_thinking` of Qwen3, GLM, Nemotron, Gemma 4
# and SmolLM3, `thinking` of DeepSeek V3.1 and Granite. `empty` asks as a server does that sets none.
SWITCHES: dict[str, dict[str, bool]] = {
    "none": {"enable_thinking": False, "thinking": False},
    "keep": {"enable_thinking": True, "thinking": True},
    "empty": {},
}
OPENING_TAG, CLOSING = "<think>", "\n</think>\n\n"  # as DeepSeek R1 and Qwen3 write them
# Tags of Qwen3 and DeepSeek R1 and of Magistral. What R1 logs has no opening tag: it stands in the prompt.
_TAGGED = re.compile(r"\s*(?:<think>(.*?)</think>|\[THINK\](.*?)\[/THINK\])", re.DOTALL)
_TAGS = ("<think>", "</think>", "[THINK]")
_UNOPENED = re.compile(r"((?:(?!<think>).)*?)\n[ \t]*</think>[ \t]*(?=\n|$)", re.DOTALL)
_UNCLOSED = re.compile(r"\s*(?:<think>|\[THINK\])")
_LINE_ENDS = re.compile(r"(?:[ \t]*\n)+|[ \t]+")


class Thought(NamedTuple):
    """The reasoning of an answer, None where it has none, and the answer behind it."""

    reasoning: str | None
    answer: str


def split_reasoning(text: str) -> Thought:
    """Part the reasoning at the beginning of an answer from the answer; of one that never ends, no answer is left."""
    if not any(tag in text for tag in _TAGS):
        return Thought(None, text)
    found = _TAGGED.match(text) or _UNOPENED.match(text)
    if found:
        rest = text[found.end() :]
        blank = _LINE_ENDS.match(rest)
        return Thought(next(filter(None, found.groups()), "").strip(), rest[blank.end() if blank else 0 :])
    return Thought(text.strip(), "") if _UNCLOSED.match(text) else Thought(None, text)


def join_reasoning(message: Message) -> str:
    """The content of an answer behind its reasoning in tags, for formats that have no other place for it."""
    if "reasoning" not in message:
        return message["content"]
    return f"{OPENING_TAG}\n{message['reasoning']}{CLOSING}{message['content']}"


def part_reasoning(message: Message) -> Message:
    """The answer with the reasoning that its content begins with in a field of its own; any other message as it is.

    What the field has already is kept; an empty think block is none.
    """
    if message["role"] != "assistant":
        return message
    thought = split_reasoning(message["content"])
    if thought.reasoning is None:
        return message
    parted = message.copy()
    parted["content"] = thought.answer
    if thought.reasoning:
        parted.setdefault("reasoning", thought.reasoning)
    return parted
