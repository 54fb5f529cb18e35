"""The shapes in which people keep instruction data, and the way from each to chat messages and back.

chatml: `messages` (OpenAI, TRL). sharegpt: `conversations` of from/value. alpaca: instruction, input, output.
instruction: instruction, context, response (Dolly). completion: prompt, completion (TRL). qa: question, answer.
text: raw text for domain adaptation. Any other columns are mapped by templates such as `response: "{reply}"`.

A message of chatml or sharegpt may say whether it is learnt from: by `weight` 0 or 1, as in OpenAI's files
(FineTuneChatCompletionRequestAssistantMessage in https://github.com/openai/openai-openapi), or by `train` false or
true, as in Axolotl's (https://docs.axolotl.ai/docs/dataset-formats/conversation.html).

A new format is a function from columns to messages, which ends in `_from_chatml` so that the rules of conversations
hold, one back from messages to columns, and a line in `FORMATS`. The schema of params.yaml, detection and
`tunelock convert` follow from the table; name it in the comment on `sources` in params.yaml.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from tunelock.reading.rows import Columns, Unfit
from tunelock.records.record import MARKS, Message, find_chat_fault, is_learnt, make_messages

SPEAKERS = {  # what ShareGPT files call the roles of ChatML
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
    "model": "assistant", "bard": "assistant", "assistant": "assistant", "tool": "tool", "observation": "tool",
    "function_response": "tool",
}  # fmt: skip
NAMES = {"user": "human", "assistant": "gpt"}  # and back
PLACE = re.compile(r"\{([^{}]+)\}")


class Format(NamedTuple):
    """A shape of rows: the columns that mark it, and its two directions."""

    columns: frozenset[str]
    to_messages: Callable[[Columns], list[Message]]
    from_messages: Callable[[list[Message]], Columns]


def _read_cell(columns: Columns, key: str) -> str:
    """The text in a column; empty if the column is not there or null."""
    value = columns.get(key)
    if not isinstance(value, str | None):
        raise Unfit("not_text")
    return value or ""


def _from_chatml(columns: Columns) -> list[Message]:
    """Messages of role and content, and a weight of 0; what else they carry is not kept."""
    messages = columns["messages"]
    fault = find_chat_fault(messages)
    if fault:
        raise Unfit(fault)
    return list(map(_clean_message, messages))


def _clean_message(message: Columns) -> Message:
    """A message of chatml with what is kept of it."""
    clean = Message(role=message["role"], content=message["content"])
    if message["role"] == "assistant" and not is_learnt(message):
        clean["weight"] = 0
    return clean


def _from_sharegpt(columns: Columns) -> list[Message]:
    """Turns of from/value, with the system prompt of a `system` column."""
    turns = columns["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Unfit("not_a_message")
    if any(turn.get("from") in ("function_call", "tool_call") for turn in turns):
        raise Unfit("tool_calls")
    messages = list(map(_read_turn, turns))
    system = _read_cell(columns, "system")
    return _from_chatml({"messages": ([{"role": "system", "content": system}] if system.strip() else []) + messages})


def _read_turn(turn: Columns) -> Columns:
    """A turn of ShareGPT as a message of chatml, whatever its values are."""
    role = SPEAKERS.get(str(turn.get("from", turn.get("role"))))
    marks = {mark: turn[mark] for mark in MARKS if mark in turn}
    return {"role": role, "content": turn.get("value", turn.get("content")), **marks}


def _from_alpaca(columns: Columns) -> list[Message]:
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
    earlier = []
    for question, reply in history:
        earlier += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return _from_chatml({"messages": messages[:-2] + earlier + messages[-2:]})


def _read_columns(instruction: str, context: str | None, response: str) -> Callable[[Columns], list[Message]]:
    """A reader of single questions whose parts stand in these columns."""

    def read_columns(columns: Columns) -> list[Message]:
        asked = _read_cell(columns, instruction), _read_cell(columns, context) if context else ""
        return _from_chatml(
            {"messages": make_messages(*asked, _read_cell(columns, response), _read_cell(columns, "system"))}
        )

    return read_columns


def _from_completion(columns: Columns) -> list[Message]:
    """Prompt and completion, as texts or as lists of messages."""
    if isinstance(columns["prompt"], list) and isinstance(columns["completion"], list):
        return _from_chatml({"messages": columns["prompt"] + columns["completion"]})
    return _read_columns("prompt", None, "completion")(columns)


def _from_text(columns: Columns) -> list[Message]:
    """A raw text, without a conversation around it."""
    if not _read_cell(columns, "text").strip():
        raise Unfit("empty_text")
    return [{"role": "text", "content": columns["text"]}]


def _write_columns(names: tuple[str, str], system: str | None = None) -> Callable[[list[Message]], Columns]:
    """A writer of one question and its answer into columns; `Unfit` for what has more turns."""

    def write_columns(messages: list[Message]) -> Columns:
        roles = [message["role"] for message in messages]
        if roles != ["user", "assistant"] and (roles != ["system", "user", "assistant"] or system is None):
            raise Unfit("does_not_fit")
        contents = {message["role"]: message["content"] for message in messages}
        first = {system: contents["system"]} if "system" in contents else {}
        return first | {names[0]: contents["user"], names[1]: contents["assistant"]}

    return write_columns


def _to_sharegpt(messages: list[Message]) -> Columns:
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    turns = []
    for message in messages:
        weight = {"weight": message["weight"]} if "weight" in message else {}
        turns.append({"from": NAMES.get(message["role"], message["role"]), "value": message["content"], **weight})
    return {"conversations": turns}


def _to_chatml(messages: list[Message]) -> Columns:
    if messages[0]["role"] == "text":
        raise Unfit("does_not_fit")
    return {"messages": messages}


def _to_text(messages: list[Message]) -> Columns:
    if messages[0]["role"] != "text":
        raise Unfit("does_not_fit")
    return {"text": messages[0]["content"]}


def _to_alpaca(messages: list[Message]) -> Columns:
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


def detect_format(columns: Columns) -> str | None:
    """The format whose marks these columns have; None if there is none."""
    return next((name for name, known in FORMATS.items() if known.columns <= columns.keys()), None)


def fill_template(template: str, columns: Columns) -> str:
    """The template with each `{column}` replaced by that column's value.

    Raises:
        Unfit: a column is missing, or holds no text or number.
    """

    def fill_place(place: re.Match[str]) -> str:
        if place[1] not in columns:
            raise Unfit("missing_column")
        found = columns[place[1]]
        if not isinstance(found, str | int | float | None):
            raise Unfit("not_text")
        return "" if found is None else str(found)

    return PLACE.sub(fill_place, template)


def map_columns(mapping: dict[str, str], columns: Columns) -> list[Message]:
    """The messages of a row with any columns, by templates for instruction, context, response, system or text."""
    filled = {key: fill_template(template, columns) for key, template in mapping.items()}
    if "text" in filled:
        return _from_text(filled)
    return FORMATS["instruction"].to_messages(filled)
