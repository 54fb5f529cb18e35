"""Conversations as people keep them, and the way to chat messages and back: chatml and sharegpt.

Both are lists of turns, in one of CHAT_COLUMNS. A turn says who speaks (`role`, `from`) and what (`content`, `value`).
It may say whether it is learnt from: by `weight` 0 or 1, as in OpenAI's files
(FineTuneChatCompletionRequestAssistantMessage in https://github.com/openai/openai-openapi), or by `train` false or
true, as in Axolotl's (https://docs.axolotl.ai/docs/dataset-formats/conversation.html).
"""

import ast
import json
import re
from itertools import chain
from typing import Any, cast

from tunelock.reading.rows import Columns, Unfit
from tunelock.reading.tool_shapes import list_tool_names, read_tools, write_openai_calls
from tunelock.reading.turns import CALL, KEPT, clean_turn, read_turn
from tunelock.reading.values import read_cell
from tunelock.records.chat_faults import find_chat_fault
from tunelock.records.reasoning import join_reasoning
from tunelock.records.record import (
    Message,
    add_tools,
    cut_trailing_question,
    drop_question_marks,
    drop_tools,
    find_tools,
    is_learnt,
)

PREFERRED = "chosen"  # the conversation that people liked better, beside `rejected` (TRL's preference data)
CHAT_COLUMNS = (
    "messages", "conversations", "conversation", "dialog", "dialogue", "history", "chat", "turns", PREFERRED,
)  # fmt: skip
NAMES = {"user": "human", "assistant": "gpt"}  # and back


def find_turns(columns: Columns) -> str | None:
    """The column that holds the turns of a chat; None if there is none."""
    return next((name for name in CHAT_COLUMNS if _is_list_of_turns(columns.get(name))), None)


def list_chat_columns(columns: Columns) -> list[str]:
    """The columns that hold the turns of a chat: one, two where the prompt stands apart from its answer."""
    name = find_turns(columns)
    prompt = columns.get("prompt")
    if name == PREFERRED and isinstance(prompt, list) and columns[name][: len(prompt)] != prompt:
        return ["prompt", name]
    return [name] if name else []


def _is_list_of_turns(value: Any) -> bool:
    if isinstance(value, str):
        return re.match(r"\s*\[\s*\{", value) is not None
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def read_chat(columns: Columns) -> list[Message]:
    """The conversation of a row, with the system prompt of a `system` column and its tools.

    It may end with a question; whoever makes a record of it cuts that off and counts it.

    Raises:
        Unfit: it is no conversation that one can learn from.
    """
    names = list_chat_columns(columns) or [next(filter(columns.__contains__, CHAT_COLUMNS))]
    given = chain.from_iterable(_parse_turns(columns[name]) for name in names)
    turns = _join_calls(list(map(read_turn, given)))
    turns = _add_system(turns, read_cell(columns, "system"))
    fault = find_chat_fault(cut_trailing_question(cast(list[Message], turns)))
    messages = list(map(clean_turn, turns)) if fault is None else []
    if not all(message["content"] for message in messages):  # an answer may be nothing but reasoning
        fault = find_chat_fault(cut_trailing_question(messages))
    if fault:
        raise Unfit(fault)
    tools = read_tools(columns)
    return messages if tools is None or _are_in_system(tools, messages) else add_tools(messages, tools)


def _parse_turns(value: Any) -> list[Any]:
    """The turns of a cell; those of a table of texts are JSON, or Python as pandas writes it."""
    if _is_list_of_turns(value) and isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = _parse_python(value)
    if not isinstance(value, list) or not value:
        raise Unfit("no_messages")
    return value


def _parse_python(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _join_calls(turns: list[Columns]) -> list[Columns]:
    """The turns, those of calls alone joined with what the assistant says before them.

    Raises:
        Unfit: only one of two that belong together is learnt from.
    """
    joined: list[Columns] = []
    for turn in turns:
        before = joined[-1] if joined else None
        if before and before["role"] == "assistant" and turn.get("tool_calls") and not turn["content"]:
            if is_learnt(before) != is_learnt(turn):
                raise Unfit("bad_weight")
            joined[-1] = {**before, "tool_calls": [*before.get("tool_calls", ()), *turn["tool_calls"]]}
        else:
            joined.append(turn)
    return joined


def _add_system(turns: list[Columns], system: str) -> list[Columns]:
    """The turns behind the text of a `system` column, unless they begin with it."""
    opening = turns[0]
    if not system.strip() or (opening["role"] == "system" and opening["content"].strip() == system.strip()):
        return turns
    return [{"role": "system", "content": system}, *turns]


def _are_in_system(tools: str, messages: list[Message]) -> bool:
    """Whether the system message describes the tools already, as Hermes' files have it."""
    opening = messages[0]["content"] if messages[0]["role"] == "system" else ""
    return all(re.search(rf"""["']{re.escape(name)}["']""", opening) for name in list_tool_names(tools))


def write_sharegpt(messages: list[Message]) -> Columns:
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    turns = []
    for message in messages:
        kept = {key: message[key] for key in ("weight", *KEPT) if key in message}
        if message["content"] or "tool_calls" not in message:
            turns.append(
                {"from": NAMES.get(message["role"], message["role"]), "value": join_reasoning(message), **kept}
            )
        for call in message.get("tool_calls", ()):
            turns.append({"from": CALL, "value": json.dumps(call, ensure_ascii=False), **kept})
    tools = find_tools(messages)
    return {"conversations": turns} | ({"tools": tools} if tools else {})


def write_chatml(messages: list[Message]) -> Columns:
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    tools, plain = find_tools(messages), drop_question_marks(drop_tools(messages))
    written = [{**message, **write_openai_calls(message)} for message in plain]
    return {"messages": written} | ({"tools": json.loads(tools)} if tools else {})
