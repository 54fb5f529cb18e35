"""One turn of a conversation, whatever its file calls the speaker and however it keeps the text."""

import json
import re
from typing import Any

from tunelock.reading.rows import Columns, Unfit
from tunelock.reading.tool_shapes import read_call_list, read_calls
from tunelock.reading.values import write_value
from tunelock.records.reasoning import part_reasoning
from tunelock.records.record import MARKS, Message, is_learnt
from tunelock.records.tool_calls import ToolCall

CALL = "function_call"  # a turn that is nothing but calls of tools
SPEAKERS = {  # what files call the roles of ChatML, in lower case, with _ for a blank or a hyphen
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bard": "assistant",
    "bot": "assistant", "chatbot": "assistant", "ai": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "function_response": "tool", "tool_response": "tool",
    "function_result": "tool", "tool_result": "tool", "ipython": "tool",
    "function_call": CALL, "tool_call": CALL, "tool_calls": CALL,
}  # fmt: skip
ROLE_KEYS, CONTENT_KEYS = ("role", "from", "speaker"), ("content", "value", "text")
TEXT_PARTS = (None, "text", "input_text", "output_text")  # types of parts that are text, in OpenAI's interfaces
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")  # of vLLM and DeepSeek, of OpenRouter, of gpt-oss
THOUGHT_PARTS = ("thinking", "reasoning")  # types of parts that are reasoning, in Anthropic's and Mistral's interfaces
KEPT = ("name", "tool_call_id")  # what a tool's message keeps beside its content
SHOWN_ROLE = 30  # characters


def read_turn(turn: Any) -> Columns:
    """A turn as a message of chatml: its role, content and calls in one form, its marks as they are.

    Raises:
        Unfit: it has no role that we know, or no text and no call.
    """
    if not isinstance(turn, dict) or not any(key in turn for key in ROLE_KEYS):
        raise Unfit("not_a_message")
    role = _read_role(next((turn[key] for key in ROLE_KEYS if turn.get(key) is not None), None))
    said = next((turn[key] for key in CONTENT_KEYS if turn.get(key) is not None), None)
    kept = {mark: turn[mark] for mark in (*MARKS, "question") if mark in turn}
    if role == CALL:
        return {"role": "assistant", "content": "", "tool_calls": _require_calls(read_call_list(said)), **kept}
    if role == "tool":
        kept |= {key: turn[key] for key in KEPT if isinstance(turn.get(key), str)}
    if role == "assistant":
        said, kept = _drop_thoughts(said), kept | _read_reasoning(turn, said)
    calls = read_calls(turn)
    if calls:
        kept["tool_calls"] = calls
    return {"role": role, "content": "" if calls and said is None else _read_content(said, role), **kept}


def _read_reasoning(turn: Columns, said: Any) -> Columns:
    """What an assistant's turn says of its thoughts, beside its content or as parts of it."""
    found = [turn[key] for key in REASONING_KEYS if isinstance(turn.get(key), str) and turn[key].strip()][:1]
    for part in said if isinstance(said, list) else ():
        if _is_thought(part):
            thought = next((part[key] for key in (*THOUGHT_PARTS, "text") if isinstance(part.get(key), str)), "")
            found.append(thought)
    text = "\n".join(found).strip()
    return {"reasoning": text} if text else {}


def _drop_thoughts(said: Any) -> Any:
    return [part for part in said if not _is_thought(part)] if isinstance(said, list) else said


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in THOUGHT_PARTS


def _require_calls(calls: list[ToolCall]) -> list[ToolCall]:
    if not calls:
        raise Unfit("bad_tool_call")
    return calls


def _read_role(said: Any) -> str:
    """The role of ChatML, or CALL, whatever its case, blanks and hyphens."""
    role = SPEAKERS.get(re.sub(r"[\s_-]+", "_", said.strip(" \t\r\n:")).casefold()) if isinstance(said, str) else None
    if role is None:
        raise Unfit("unknown_role", " ".join(str(said).split())[:SHOWN_ROLE])
    return role


def _read_content(said: Any, role: str) -> str:
    """The text of a turn: a list of parts is joined by line ends, a number is written out.

    A tool may answer with any JSON. To join by line ends is how vLLM serves such lists
    (https://docs.vllm.ai, `--chat-template-content-format string`).

    Raises:
        Unfit: it has no text, or a part that is no text, such as an image.
    """
    if isinstance(said, list) and not (role == "tool" and not any(map(_has_type, said))):
        return "\n".join(map(_read_part, said))
    if isinstance(said, list | dict) and role == "tool":
        return json.dumps(said, ensure_ascii=False)
    text = None if isinstance(said, list | dict) else write_value(said)
    if text is None:
        raise Unfit("content_not_text")
    return text


def _has_type(part: Any) -> bool:
    return isinstance(part, dict) and "type" in part


def _read_part(part: Any) -> str:
    if isinstance(part, dict):
        if part.get("type") not in TEXT_PARTS or not isinstance(part.get("text"), str):
            raise Unfit("part_not_text", str(part.get("type"))[:SHOWN_ROLE])
        return part["text"]
    if not isinstance(part, str):
        raise Unfit("content_not_text")
    return part


def clean_turn(turn: Columns) -> Message:
    """A message with what is kept of it, the reasoning of an answer in its own field."""
    clean = Message(role=turn["role"], content=turn["content"])
    if isinstance(turn.get("question"), int):
        clean["question"] = turn["question"]
    if turn["role"] == "assistant" and not is_learnt(turn):
        clean["weight"] = 0
    for key in ("reasoning", "tool_calls", *KEPT):
        if key in turn:
            clean[key] = turn[key]
    return part_reasoning(clean)
