"""The shapes in which people keep instruction data, and the way from each to chat messages and back.

chatml: `messages` (OpenAI, TRL). sharegpt: `conversations` of from/value. alpaca: instruction, input, output.
instruction: instruction, context, response (Dolly). completion: prompt, completion (TRL). qa: question, answer.
text: raw text for domain adaptation. Any other columns are mapped by templates such as `response: "{reply}"`.

A message of chatml or sharegpt may say whether it is learnt from: by `weight` 0 or 1, as in OpenAI's files
(FineTuneChatCompletionRequestAssistantMessage in https://github.com/openai/openai-openapi), or by `train` false or
true, as in Axolotl's (https://docs.axolotl.ai/docs/dataset-formats/conversation.html).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from tunelock.reading.rows import Unfit
from tunelock.records.record import MARKS, find_chat_fault, is_learnt, make_messages

SPEAKERS = {  # what ShareGPT files call the roles of ChatML
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
    "model": "assistant", "bard": "assistant", "assistant": "assistant", "tool": "tool", "observation": "tool",
    "function_response": "tool",
}  # fmt: skip
PLACE = re.compile(r"\{([^{}]+)\}")


class Format(NamedTuple):
    """A shape of rows: the columns that mark it, and its two directions."""

    columns: frozenset[str]
    to_messages: Callable[[dict], list[dict]]
    from_messages: Callable[[list[dict]], dict]


def _read_cell(columns: dict, key: str) -> str:
    """The text in a column; empty if the column is not there or null."""
    value = columns.get(key)
    if not isinstance(value, str | None):
        raise Unfit("not_text")
    return value or ""


def _from_chatml(columns: dict) -> list[dict]:
    """Messages of role and content, and a weight of 0; what else they carry is not kept."""
    messages = columns["messages"]
    fault = find_chat_fault(messages)
    if fault:
        raise Unfit(fault)
    unlearnt = [{"weight": 0} if m["role"] == "assistant" and not is_learnt(m) else {} for m in messages]
    return [{"role": m["role"], "content": m["content"], **weight} for m, weight in zip(messages, unlearnt)]


def _from_sharegpt(columns: dict) -> list[dict]:
    """Turns of from/value, with the system prompt of a `system` column."""
    said = columns["conversations"]
    if not isinstance(said, list) or not all(isinstance(turn, dict) for turn in said):
        raise Unfit("not_a_message")
    if any(turn.get("from") in ("function_call", "tool_call") for turn in said):
        raise Unfit("tool_calls")
    messages = [
        {
            "role": SPEAKERS.get(str(turn.get("from", turn.get("role")))),
            "content": turn.get("value", turn.get("content")),
            **{key: turn[key] for key in MARKS if key in turn},
        }
        for turn in said
    ]
    system = _read_cell(columns, "system")
    return _from_chatml({"messages": ([{"role": "system", "content": system}] if system.strip() else []) + messages})


def _from_alpaca(columns: dict) -> list[dict]:
    """Instruction, input and output; LLaMA-Factory's `history` of question-answer pairs comes first."""
    messages = make_messages(
        _read_cell(columns, "instruction"),
        _read_cell(columns, "input"),
        _read_cell(columns, "output"),
        _read_cell(columns, "system"),
    )
    history = columns.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in history):
        raise Unfit("not_a_message")
    earlier = [
        {"role": role, "content": content} for pair in history for role, content in zip(("user", "assistant"), pair)
    ]
    return _from_chatml({"messages": messages[:-2] + earlier + messages[-2:]})


def _read_columns(instruction: str, context: str | None, response: str) -> Callable[[dict], list[dict]]:
    """A reader of single questions whose parts stand in these columns."""

    def read(columns: dict) -> list[dict]:
        asked = _read_cell(columns, instruction), _read_cell(columns, context) if context else ""
        return _from_chatml(
            {"messages": make_messages(*asked, _read_cell(columns, response), _read_cell(columns, "system"))}
        )

    return read


def _from_completion(columns: dict) -> list[dict]:
    """Prompt and completion, as texts or as lists of messages."""
    if isinstance(columns["prompt"], list) and isinstance(columns["completion"], list):
        return _from_chatml({"messages": columns["prompt"] + columns["completion"]})
    return _read_columns("prompt", None, "completion")(columns)


def _from_text(columns: dict) -> list[dict]:
    """A raw text, without a conversation around it."""
    if not _read_cell(columns, "text").strip():
        raise Unfit("empty_text")
    return [{"role": "text", "content": columns["text"]}]


def _write_columns(names: tuple[str, str], system: str | None = None) -> Callable[[list[dict]], dict]:
    """A writer of one question and its answer into columns; `Unfit` for what has more turns."""

    def write(messages: list[dict]) -> dict:
        roles = [message["role"] for message in messages]
        if roles != ["user", "assistant"] and (roles != ["system", "user", "assistant"] or system is None):
            raise Unfit("does_not_fit")
        said = {message["role"]: message["content"] for message in messages}
        first = {system: said["system"]} if "system" in said else {}
        return first | {names[0]: said["user"], names[1]: said["assistant"]}

    return write


def _to_sharegpt(messages: list[dict]) -> dict:
    names = {"user": "human", "assistant": "gpt"}
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    said = [{**m, "from": names.get(m["role"], m["role"]), "value": m["content"]} for m in messages]
    return {"conversations": [{key: turn[key] for key in ("from", "value", "weight") if key in turn} for turn in said]}


def _to_chatml(messages: list[dict]) -> dict:
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    return {"messages": messages}


def _to_text(messages: list[dict]) -> dict:
    if messages[0]["role"] != "text":
        raise Unfit("does_not_fit")
    return {"text": messages[0]["content"]}


def _to_alpaca(messages: list[dict]) -> dict:
    return {"input": "", **_write_columns(("instruction", "output"), "system")(messages)}


FORMATS = {  # in the order in which a row is asked for its marks
    "chatml": Format(frozenset({"messages"}), _from_chatml, _to_chatml),
    "sharegpt": Format(frozenset({"conversations"}), _from_sharegpt, _to_sharegpt),
    "alpaca": Format(frozenset({"instruction", "output"}), _from_alpaca, _to_alpaca),
    "instruction": Format(
        frozenset({"instruction", "response"}),
        _read_columns("instruction", "context", "response"),
        _write_columns(("instruction", "response"), "system"),
    ),
    "completion": Format(
        frozenset({"prompt", "completion"}), _from_completion, _write_columns(("prompt", "completion"))
    ),
    "qa": Format(
        frozenset({"question", "answer"}),
        _read_columns("question", None, "answer"),
        _write_columns(("question", "answer")),
    ),
    "text": Format(frozenset({"text"}), _from_text, _to_text),
}


def detect_format(columns: dict) -> str | None:
    """The format whose marks these columns have; None if there is none."""
    return next((name for name, known in FORMATS.items() if known.columns <= columns.keys()), None)


def fill_template(template: str, columns: dict) -> str:
    """The template with each `{column}` replaced by that column's value.

    Raises:
        Unfit: a column is missing, or holds no text or number.
    """

    def value(place: re.Match) -> str:
        if place[1] not in columns:
            raise Unfit("missing_column")
        found = columns[place[1]]
        if not isinstance(found, str | int | float | None):
            raise Unfit("not_text")
        return "" if found is None else str(found)

    return PLACE.sub(value, template)


def map_columns(mapping: dict[str, str], columns: dict) -> list[dict]:
    """The messages of a row with any columns, by templates for instruction, context, response, system or text."""
    filled = {key: fill_template(template, columns) for key, template in mapping.items()}
    if "text" in filled:
        return _from_text(filled)
    return FORMATS["instruction"].to_messages(filled)
