"""The shapes in which people keep instruction data, and the way from each to chat messages and back.

chatml: `messages` (OpenAI, TRL). sharegpt: `conversations` of from/value. alpaca: instruction, input, output.
instruction: instruction, context, response (Dolly). completion: prompt, completion (TRL). qa: question, answer.
text: raw text for domain adaptation. Any other columns are mapped by templates such as `response: "{reply}"`.

A new format is a function from columns to messages, which ends in `read_chat` so that the rules of conversations
hold, one back from messages to columns, and a line in `FORMATS`. The schema of params.yaml, detection and
`tunelock convert` follow from the table; name it in the comment on `sources` in params.yaml.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tunelock.reading.chats import find_turns, list_chat_columns, read_chat, write_chatml, write_sharegpt
from tunelock.reading.contexts import write_nested
from tunelock.reading.rows import Columns, Unfit
from tunelock.reading.tool_shapes import TOOL_COLUMNS
from tunelock.reading.values import fill_template, list_places, read_cell
from tunelock.records.chat_faults import find_chat_fault
from tunelock.records.reasoning import join_reasoning, part_reasoning
from tunelock.records.record import Message, make_messages

CHATS = ("chatml", "sharegpt")  # formats of one reader: each takes the turns of the other
CHAT_OPTIONAL = frozenset({"system", *TOOL_COLUMNS})
OPTIONAL = ("context", "system")  # parts that a record may lack


class Format(NamedTuple):
    """A shape of rows: the columns that mark it, its two directions, and which other columns it reads.

    `one_question`: a row is one question, which may have a context in a column of its own (`contexts.py`).
    """

    columns: frozenset[str]
    to_messages: Callable[[Columns], list[Message]]
    from_messages: Callable[[list[Message]], Columns]
    optional: frozenset[str] = frozenset()
    one_question: bool = False

    def reads(self) -> frozenset[str]:
        return self.columns | self.optional


def _from_alpaca(columns: Columns) -> list[Message]:
    """Instruction, input and output; LLaMA-Factory's `history` of question-answer pairs comes first."""
    messages = make_messages(
        read_cell(columns, "instruction"),
        read_cell(columns, "input"),
        read_cell(columns, "output"),
        read_cell(columns, "system"),
    )
    history = columns.get("history")
    if not history:
        return _require_chat(messages)
    if not isinstance(history, list):
        raise Unfit("not_a_message")
    earlier: list[Any] = []
    for turn in history:
        earlier += _read_pair(turn)
    return read_chat({"messages": [*messages[:-2], *earlier, *messages[-2:]]})


def _read_pair(turn: Any) -> list[Any]:
    """A question and its answer as two turns; a turn as it is."""
    if isinstance(turn, list | tuple) and len(turn) == 2:
        return [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
    return [turn]


def _read_columns(instruction: str, context: str | None, response: str) -> Callable[[Columns], list[Message]]:
    """A reader of single questions whose parts stand in these columns."""

    def read_columns(columns: Columns) -> list[Message]:
        asked = read_cell(columns, instruction), read_cell(columns, context) if context else ""
        return _require_chat(make_messages(*asked, read_cell(columns, response), read_cell(columns, "system")))

    return read_columns


def _require_chat(messages: list[Message]) -> list[Message]:
    """These messages, which are in our form already, the reasoning of answers in its own field."""
    messages = list(map(part_reasoning, messages))
    fault = find_chat_fault(messages)
    if fault:
        raise Unfit(fault)
    return messages


def _from_completion(columns: Columns) -> list[Message]:
    """Prompt and completion, as texts or as lists of messages."""
    if isinstance(columns["prompt"], list) and isinstance(columns["completion"], list):
        return read_chat({**columns, "messages": columns["prompt"] + columns["completion"]})
    return _read_columns("prompt", None, "completion")(columns)


def _from_text(columns: Columns) -> list[Message]:
    """A raw text, without a conversation around it."""
    text = read_cell(columns, "text")
    if not text.strip():
        raise Unfit("empty_text")
    return [{"role": "text", "content": text}]


def _write_columns(names: tuple[str, str], system: str | None = None) -> Callable[[list[Message]], Columns]:
    """A writer of one question and its answer into columns; `Unfit` for what has more turns."""

    def write_columns(messages: list[Message]) -> Columns:
        roles = [message["role"] for message in messages]
        if roles != ["user", "assistant"] and (roles != ["system", "user", "assistant"] or system is None):
            raise Unfit("does_not_fit")
        if "tools" in messages[0] or "tool_calls" in messages[-1]:
            raise Unfit("does_not_fit")
        contents = {message["role"]: join_reasoning(message) for message in messages}
        first = {system: contents["system"]} if "system" in contents else {}
        return first | {names[0]: contents["user"], names[1]: contents["assistant"]}

    return write_columns


def _to_text(messages: list[Message]) -> Columns:
    if messages[0]["role"] != "text":
        raise Unfit("does_not_fit")
    return {"text": messages[0]["content"]}


def _to_alpaca(messages: list[Message]) -> Columns:
    return {"input": "", **_write_columns(("instruction", "output"), "system")(messages)}


FORMATS = {  # in the order in which a row is asked for its marks
    "chatml": Format(frozenset({"messages"}), read_chat, write_chatml, CHAT_OPTIONAL),
    "sharegpt": Format(frozenset({"conversations"}), read_chat, write_sharegpt, CHAT_OPTIONAL),
    "alpaca": Format(
        frozenset({"instruction", "output"}),
        _from_alpaca,
        _to_alpaca,
        frozenset({"input", "system", "history"}),
        one_question=True,
    ),
    "instruction": Format(
        frozenset({"instruction", "response"}),
        _read_columns("instruction", "context", "response"),
        _write_columns(("instruction", "response"), "system"),
        frozenset({"context", "system"}),
        one_question=True,
    ),
    "completion": Format(
        frozenset({"prompt", "completion"}),
        _from_completion,
        _write_columns(("prompt", "completion")),
        frozenset({"system", *TOOL_COLUMNS}),
        one_question=True,
    ),
    "qa": Format(
        frozenset({"question", "answer"}),
        _read_columns("question", None, "answer"),
        _write_columns(("question", "answer")),
        frozenset({"system"}),
        one_question=True,
    ),
    "text": Format(frozenset({"text"}), _from_text, _to_text),
}


def detect_format(columns: Columns) -> str | None:
    """The format whose marks these columns have, or a chat's where a column holds turns; None if there is none."""
    marked = next((name for name, known in FORMATS.items() if known.columns <= columns.keys()), None)
    return marked or ("chatml" if find_turns(columns) else None)


def fits_format(kind: str, columns: Columns) -> bool:
    """Whether a row has the columns of a format; the turns of a chat may stand in any of CHAT_COLUMNS."""
    return FORMATS[kind].columns <= columns.keys() or (kind in CHATS and find_turns(columns) is not None)


def list_columns_read(kind: str, rows: Iterable[Columns]) -> frozenset[str]:
    """The columns that a format reads in these rows."""
    if kind not in CHATS:
        return FORMATS[kind].reads()
    return FORMATS[kind].optional.union(*map(list_chat_columns, rows))


def map_columns(mapping: dict[str, str], columns: Columns) -> list[Message]:
    """The messages of a row with any columns, by templates for instruction, context, response, system or text.

    Lists and objects are written as text: options in an instruction, paragraphs in a context, the first text of an
    answer.
    """
    answer = _fill_part("response", mapping["response"], columns, "") if "response" in mapping else ""
    filled = {key: _fill_part(key, template, columns, answer) for key, template in mapping.items()}
    if "text" in filled:
        return _from_text(filled)
    return FORMATS["instruction"].to_messages(filled)


def _fill_part(part: str, template: str, columns: Columns, answer: str) -> str:
    """The template of one part of a record; a context or system prompt that lacks a value is left out as a whole."""
    if nested := [name for name in list_places(template) if isinstance(columns.get(name), list | dict)]:
        columns = {**columns, **{name: write_nested(part, columns[name], answer) for name in nested}}
    try:
        return fill_template(template, columns)
    except Unfit as unfit:
        if part in OPTIONAL and unfit.reason in ("missing_value", "missing_column"):
            return ""
        raise
