"""Conversations as people keep them, and the way to chat messages and back: chatml and sharegpt.

A message of chatml or sharegpt may say whether it is learnt from: by `weight` 0 or 1, as in OpenAI's files
(FineTuneChatCompletionRequestAssistantMessage in https://github.com/openai/openai-openapi), or by `train` false or
true, as in Axolotl's (https://docs.axolotl.ai/docs/dataset-formats/conversation.html).
"""

from tunelock.reading.rows import Columns, Unfit
from tunelock.reading.values import read_cell
from tunelock.records.chat_faults import find_chat_fault
from tunelock.records.record import MARKS, Message, drop_question_marks, is_learnt

SPEAKERS = {  # what ShareGPT files call the roles of ChatML
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
    "model": "assistant", "bard": "assistant", "assistant": "assistant", "tool": "tool", "observation": "tool",
    "function_response": "tool",
}  # fmt: skip
NAMES = {"user": "human", "assistant": "gpt"}  # and back


def read_chatml(columns: Columns) -> list[Message]:
    """Messages of role and content, and a weight of 0; what else they carry is not kept."""
    messages = columns["messages"]
    fault = find_chat_fault(messages)
    if fault:
        raise Unfit(fault)
    return list(map(_clean_message, messages))


def _clean_message(message: Columns) -> Message:
    """A message of chatml with what is kept of it."""
    clean = Message(role=message["role"], content=message["content"])
    if isinstance(message.get("question"), int):
        clean["question"] = message["question"]
    if message["role"] == "assistant" and not is_learnt(message):
        clean["weight"] = 0
    return clean


def read_sharegpt(columns: Columns) -> list[Message]:
    """Turns of from/value, with the system prompt of a `system` column."""
    turns = columns["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Unfit("not_a_message")
    if any(turn.get("from") in ("function_call", "tool_call") for turn in turns):
        raise Unfit("tool_calls")
    messages = list(map(_read_turn, turns))
    system = read_cell(columns, "system")
    return read_chatml({"messages": ([{"role": "system", "content": system}] if system.strip() else []) + messages})


def _read_turn(turn: Columns) -> Columns:
    """A turn of ShareGPT as a message of chatml, whatever its values are."""
    role = SPEAKERS.get(str(turn.get("from", turn.get("role"))))
    marks = {mark: turn[mark] for mark in MARKS if mark in turn}
    return {"role": role, "content": turn.get("value", turn.get("content")), **marks}


def write_sharegpt(messages: list[Message]) -> Columns:
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    turns = []
    for message in messages:
        weight = {"weight": message["weight"]} if "weight" in message else {}
        turns.append({"from": NAMES.get(message["role"], message["role"]), "value": message["content"], **weight})
    return {"conversations": turns}


def write_chatml(messages: list[Message]) -> Columns:
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    return {"messages": drop_question_marks(messages)}
