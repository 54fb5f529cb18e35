"""The text of a conversation that ends with an answer, and of the prompt that asks for it: one begins with the other.

Reasoning templates ask for an answer with one text and write it, when it is given, behind another: Qwen3 writes an
empty think block before it, DeepSeek R1 asks with an open tag that it does not write, gpt-oss asks for a channel.
"""

import json
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.records.reasoning import OPENING_TAG
from tunelock.records.record import Message, drop_reasoning, find_tools
from tunelock.records.tool_calls import list_argument_texts
from tunelock.rendering.controls import compile_control_pattern
from tunelock.rendering.template import TemplateRefusal, apply_template, find_reasoning_layout

WAY_OUT = "set a `chat_template` that writes them, such as templates/chatml-tools.jinja for ChatML's control tokens"
LOST_CALLS = "template_without_tool_calls"
_PROBE = "\ue003"  # a private-use character, which no template trims


class RowText(NamedTuple):
    """A conversation as text: where its last answer begins, which is where its prompt ends, and where the content of
    that answer ends (None where it calls tools, whose syntax is the template's). `said` is what the template writes of
    the messages by itself."""

    text: str
    begin: int
    content_end: int | None
    said: str


def write_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message], thinking: str) -> str:
    """The text that asks for the next answer.

    Without thinking, what the template puts between its generation prompt and a plain answer belongs to it. Where
    there are tools it does not, for there the model chooses between an answer and a call.
    """
    return _complete_prompt(tokenizer, messages, apply_template(tokenizer, messages, True, thinking), thinking)


def _complete_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message], opening: str, thinking: str) -> str:
    """The prompt that begins with the template's generation prompt."""
    if thinking != "none" or find_tools(messages):
        return opening
    before = _find_before_content(tokenizer, [*messages, Message(role="assistant", content="")], thinking)
    if not before or (before.startswith(opening) and not before[len(opening) :].strip()):
        return opening
    return before


def write_row(tokenizer: PreTrainedTokenizerBase, messages: list[Message], thinking: str) -> RowText:
    """The text of a conversation up to its last answer and that answer's end.

    Raises:
        TemplateRefusal: the template leaves a message out, or does not put the answer, as it is, behind a prompt that
            asks for it.
    """
    text, answer = apply_template(tokenizer, messages, thinking=thinking), messages[-1]
    _check_contents(messages, text)
    opening = apply_template(tokenizer, messages[:-1], True, thinking)
    if text.startswith(opening) and not {"reasoning", "tool_calls"} & answer.keys():
        end = match_content(answer["content"], text, len(opening))
        if end is not None:
            return RowText(_add_end(tokenizer, messages, text, thinking), len(opening), end, text)
    return _join_prompt(tokenizer, messages, text, opening, thinking)


def _check_contents(messages: list[Message], text: str) -> None:
    """Refuse a template that leaves out what a message says."""
    for message in messages:
        if _stands_in(message["content"].strip(), text):
            continue
        if "tool_calls" in message:
            raise _refuse_calls()
        role = message["role"]
        raise TemplateRefusal(
            f"template_without_{role}",
            f"the chat template leaves out the message of the role '{role}'; set another `chat_template`.",
        )


def _stands_in(part: str, text: str) -> bool:
    """Whether a text stands in another one, as it is or as the inside of a JSON string."""
    return part in text or json.dumps(part, ensure_ascii=False)[1:-1] in text


def holds_calls(text: str, message: Message) -> bool:
    """Whether the content, the names and the arguments of a message with calls all stand in a text."""
    parts = [message["content"].strip()]
    for call in message["tool_calls"]:
        parts += [call["name"], *list_argument_texts(call)]
    return all(_stands_in(part, text) for part in parts)


def _join_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], said: str, opening: str, thinking: str
) -> RowText:
    """The row where the template puts something between the opening of a turn and its answer, or calls tools.

    Where the template asks for the answer with an open think tag and writes none before it, we close the tag.
    """
    prompt, answer = _complete_prompt(tokenizer, messages[:-1], opening, thinking), messages[-1]
    text, start, before = said, len(prompt), ""
    if not said.startswith(prompt) or "tool_calls" not in answer:
        before = _find_before_content(tokenizer, messages, thinking) or ""
    if not said.startswith(prompt):
        if not (text.startswith(before) and prompt.rstrip().endswith(OPENING_TAG)):
            raise _refuse_place(messages, prompt, text)
        bridge = answer.get("reasoning", "") + find_reasoning_layout(tokenizer).closing
        text, before = prompt + bridge + text[len(before) :], prompt + bridge
    if answer.get("reasoning", "").strip() not in text[start:]:
        raise TemplateRefusal(
            "template_without_reasoning",
            "the chat template leaves out the reasoning of an answer; set `thinking: none`, or a `chat_template` that "
            "writes `reasoning_content`.",
        )
    if "tool_calls" in answer:
        if not holds_calls(text[start:], answer):
            raise _refuse_calls()
        return RowText(_add_end(tokenizer, messages, text, thinking), start, None, said)
    end = match_content(answer["content"], text, len(before)) if before and text.startswith(before) else None
    if end is None:
        raise _refuse_place(messages, prompt, text)
    return RowText(_add_end(tokenizer, messages, text, thinking), start, end, said)


def _find_before_content(tokenizer: PreTrainedTokenizerBase, messages: list[Message], thinking: str) -> str | None:
    """The text that the template puts before the content of the last answer; None where it leaves the content out."""
    probe = messages[-1].copy()
    probe["content"] = _PROBE
    probe.pop("tool_calls", None)
    before, found, _ = apply_template(tokenizer, [*messages[:-1], probe], thinking=thinking).rpartition(_PROBE)
    return before if found else None


def _add_end(tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, thinking: str) -> str:
    """The text with the control token that the template puts behind an answer only when the conversation goes on, as
    GLM's does, whose next turn ends the one before."""
    pattern = compile_control_pattern(tokenizer)
    if any(found.end() == len(text.rstrip()) for found in pattern.finditer(text, max(0, len(text.rstrip()) - 64))):
        return text
    bare, role = drop_reasoning(messages), "tool" if "tool_calls" in messages[-1] else "user"
    try:
        plain = apply_template(tokenizer, bare, thinking=thinking)
        more = apply_template(tokenizer, [*bare, Message(role=role, content=_PROBE)], thinking=thinking)
    except TemplateRefusal:
        return text
    end = pattern.match(more, len(plain)) if more.startswith(plain) else None
    return text + end[0] if end else text


def match_content(content: str, text: str, start: int) -> int | None:
    """Where the content of an answer ends that stands at `start` in a text; None where it does not.

    Some templates trim answers (Llama 3, Gemma); some put a space before them, for SentencePiece's tokens begin with
    the space before a word (Llama 2, Mistral), some a line end (GLM).
    """
    said = content.strip()
    if not said:
        return None
    if text.startswith(content, start):
        return start + len(content)
    while text[start : start + 1].isspace():
        start += 1
    if not text.startswith(said, start):
        return None
    end = start + len(said)
    return end + 1 if text.startswith(" ", end) else end


def _refuse_calls() -> TemplateRefusal:
    why = f"the chat template leaves out a call of a tool or what stands beside it; {WAY_OUT}."
    return TemplateRefusal(LOST_CALLS, why)


def _refuse_place(messages: list[Message], prompt: str, text: str) -> TemplateRefusal:
    """The refusal of a template that does not write an answer where it asks for it; says what stands there."""
    turn = len(messages) - 1
    shared = next((i for i, (one, other) in enumerate(zip(prompt, text)) if one != other), min(len(prompt), len(text)))
    there = text[shared : shared + 30]
    return TemplateRefusal(
        "answer_not_behind_prompt",
        f"the chat template does not render answer {turn} right behind its generation prompt: there stands {there!r}, "
        f"and it asks with {prompt[-30:]!r}; set another `chat_template` or `thinking`.",
    )
