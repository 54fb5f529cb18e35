"""Where in a rendered conversation the answers stand that are learnt from, and whether the template wrote them."""

import json
import re

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Message, is_learnt
from tunelock.records.tool_calls import list_argument_texts
from tunelock.rendering.controls import compile_control_pattern
from tunelock.rendering.template import TemplateRefusal, apply_template

WAY_OUT = "set a `chat_template` that writes them, such as templates/chatml-tools.jinja for ChatML's control tokens"


def find_answer_spans(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, shadow: str
) -> list[tuple[int, int]]:
    """Where in `text` each answer that is learnt from starts and its end token ends.

    Raises:
        TemplateRefusal: an answer does not stand, as it is, between its generation prompt and a control token.
    """
    spans = []
    for turn, message in enumerate(messages):
        if not is_learnt(message):
            continue
        prompt = apply_template(tokenizer, messages[:turn], generation=True)
        if not text.startswith(prompt):
            raise _refuse_place(turn)
        find_end = _find_end_of_calls if message.get("tool_calls") else _find_end_of_content
        spans.append((len(prompt), find_end(tokenizer, messages[: turn + 1], text, shadow, len(prompt))))
    return spans


def _refuse_place(turn: int) -> TemplateRefusal:
    return TemplateRefusal(
        "answer_not_behind_prompt",
        f"the chat template does not render answer {turn} right behind its generation prompt; mend it.",
    )


def _refuse_end() -> TemplateRefusal:
    return TemplateRefusal(
        "no_end_token",
        "the chat template puts no control token behind the answer, so the model would never learn to stop.",
    )


def _find_end_of_content(tokenizer, messages: list[Message], text: str, shadow: str, begin: int) -> int:
    """Where the end token of the last message ends, whose content starts at `begin`."""
    content = messages[-1]["content"]
    # Some templates trim answers (Llama 3, Gemma); some put a space before them, for SentencePiece's tokens begin
    # with the space before a word (Llama 2, Mistral).
    said = re.compile(f"{re.escape(content)}| ?{re.escape(content.strip())} ?").match(text, begin)
    if not said:
        raise _refuse_place(len(messages) - 1)
    end = compile_control_pattern(tokenizer).match(shadow, said.end())
    if not end:
        raise _refuse_end()
    return end.end()


def _find_end_of_calls(tokenizer, messages: list[Message], text: str, shadow: str, begin: int) -> int:
    """As `_find_end_of_content`, of a message with calls: the last control token of its turn, for there may be some
    between the calls."""
    upto = apply_template(tokenizer, messages)
    if not text.startswith(upto):
        raise _refuse_place(len(messages) - 1)
    ends = list(compile_control_pattern(tokenizer).finditer(shadow, begin, len(upto)))
    if not ends:
        raise _refuse_end()
    if not holds_calls(text[begin : ends[-1].start()], messages[-1]):
        raise TemplateRefusal(
            "template_without_tool_calls",
            f"the chat template leaves out a call of a tool or what stands beside it; {WAY_OUT}.",
        )
    return ends[-1].end()


def holds_calls(text: str, message: Message) -> bool:
    """Whether the content, the names and the arguments of a message with calls all stand in a text."""
    parts = [message["content"].strip()]
    for call in message["tool_calls"]:
        parts += [call["name"], *list_argument_texts(call)]
    return all(stands_in(part, text) for part in parts)


def stands_in(part: str, text: str) -> bool:
    """Whether a text stands in another one, as it is or as the inside of a JSON string."""
    return part in text or json.dumps(part, ensure_ascii=False)[1:-1] in text
