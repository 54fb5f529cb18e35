"""The one record type: a conversation (or a raw text) with what is known about where it came from.

A record has `id`, `group` (what must stay in one split), `task`, `messages`, `source` (its name in params.yaml),
`file` and `line` (the row's number where a file has no lines) and `licence`. `messages` are those of ChatML:
role (system, user, assistant, tool) and content, with `tool_calls` where tools are called. An answer that is read and
not learnt from has `weight` 0, as in OpenAI's fine-tuning files; no other message has a weight. A question that came
with a context has `question`, which says what of it is which. A raw text is a single message of the role `text`.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import NotRequired, TypedDict, cast, final

from tunelock.records.tool_calls import ToolCall, change_calls, change_json, write_calls

PARAGRAPH_END = re.compile(r"\n\s*\n")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)\.\d+")
MARKS = ("weight", "train", "train_detail")  # what says which answers are learnt from (`tunelock.reading.chats`)


class Message(TypedDict):
    """One turn: `role` is system, user, assistant, tool or `text`.

    `question` counts the paragraphs of a user's message that are the question itself, the last ones where it is
    negative; the others are its context.

    An answer that calls tools has `tool_calls`, with or without a content. The first message of a conversation has
    `tools`, the JSON text of the list of functions that could be called. A message of a tool may have the `name` of
    the tool and the `tool_call_id` that it answers to. An answer has `reasoning` where its file has some: what the
    model thought before it.
    """

    role: str
    content: str
    weight: NotRequired[int]
    question: NotRequired[int]
    tool_calls: NotRequired[list[ToolCall]]
    tools: NotRequired[str]
    name: NotRequired[str]
    tool_call_id: NotRequired[str]
    reasoning: NotRequired[str]


@final
class Record(TypedDict):
    """A conversation or a raw text; `group` is what must stay in one split, `line` counts from 1.

    `repairs` names what the reader mended; only records that come from `tunelock.reading` have it. `flags` names the
    kinds of personal data that a record may keep; only records that come from `tunelock.cleaning` have it.
    """

    id: str
    group: str
    task: str
    messages: list[Message]
    source: str
    file: str
    line: int
    licence: str | None
    repairs: NotRequired[list[str]]
    flags: NotRequired[list[str]]


@final
class LeftOutRow(TypedDict):
    """A row of a source that became no record: `raw` is the beginning of its text, `status` dropped or set_aside."""

    source: str
    file: str
    line: int
    raw: str
    status: str
    reason: str


def make_messages(
    instruction: str, context: str, response: str, system: str = "", context_first: bool = False
) -> list[Message]:
    """The messages of one question with its answer; the context stands below the instruction, or above it."""
    parts = [part.strip() for part in (instruction, context) if part.strip()]
    asked = Message(role="user", content="\n\n".join(parts[::-1] if context_first else parts))
    if len(parts) == 2:
        asked["question"] = len(PARAGRAPH_END.split(parts[0])) * (-1 if context_first else 1)
    messages = [asked, Message(role="assistant", content=response.strip())]
    return [Message(role="system", content=system.strip()), *messages] if system.strip() else messages


def _drop_key(message: Message, dropped: str) -> Message:
    """The message without a key; itself, if it has none."""
    if dropped not in message:
        return message
    return cast(Message, {key: value for key, value in message.items() if key != dropped})


def drop_question_marks(messages: Iterable[Message]) -> list[Message]:
    """The messages as others know them, without what says where a context is."""
    return [_drop_key(message, "question") for message in messages]


def is_text(record: Record) -> bool:
    """Is it a raw text for domain adaptation, rather than a conversation?"""
    return record["messages"][0]["role"] == "text"


def weights_of(message: Mapping[str, object]) -> list[object]:
    """What a message says about being learnt from: 0 or false, 1 or true, or nothing."""
    return [message[mark] for mark in ("weight", "train") if message.get(mark) is not None]


def is_learnt(message: Mapping[str, object]) -> bool:
    """Is it an answer (or a raw text) that is learnt from?"""
    return message["role"] in ("assistant", "text") and 0 not in weights_of(message)


def replace_answer(messages: list[Message], text: str) -> list[Message]:
    """The conversation with `text` as its last answer."""
    return [*messages[:-1], Message(role="assistant", content=text)]


def keep_learnt_part(messages: list[Message]) -> list[Message]:
    """The messages up to the last answer that is learnt from (all, if none is); no loss depends on what follows."""
    for place in range(len(messages), 0, -1):
        if is_learnt(messages[place - 1]):
            return messages[:place]
    return messages


def count_turns(messages: list[Message]) -> int:
    """How many questions the user asks."""
    return sum(message["role"] == "user" for message in messages)


def keep_last_turns(messages: list[Message], most: int | None) -> list[Message]:
    """The last `most` questions with all that follows them (None: all); a system message stays first."""
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
    if most is None or len(asked) <= most:
        return messages
    kept = [message for message in messages[:1] if message["role"] == "system"] + messages[asked[-most] :]
    return add_tools(kept, find_tools(messages))


def cut_trailing_question(messages: list[Message]) -> list[Message]:
    """The messages up to the last answer: a question that nobody answered teaches nothing. All, if none is answered."""
    if messages and messages[-1]["role"] == "assistant":  # as nearly all end
        return messages
    last = max((place for place, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    if last is None or any(message["role"] not in ("user", "tool") for message in messages[last + 1 :]):
        return messages
    return messages[: last + 1]


def find_tools(messages: list[Message]) -> str | None:
    """The tools of a conversation, as JSON text; None if it has none."""
    return next((message["tools"] for message in messages if "tools" in message), None)


def add_tools(messages: list[Message], tools: str | None) -> list[Message]:
    """The messages, the first of which has the tools."""
    return [{**messages[0], "tools": tools}, *messages[1:]] if tools else messages


def count_reasoning(messages: list[Message]) -> int:
    """How many answers have what was thought before them."""
    return sum("reasoning" in message for message in messages)


def drop_reasoning(messages: list[Message]) -> list[Message]:
    """The messages without what was thought before the answers."""
    return [_drop_key(message, "reasoning") for message in messages]


def drop_tools(messages: list[Message]) -> list[Message]:
    """The messages without the tools of their conversation."""
    return [_drop_key(message, "tools") for message in messages]


def question_of(record: Record) -> str:
    """All that stands before the last answer, system message excepted; empty for a raw text."""
    return question_in(record["messages"])


def question_in(messages: list[Message]) -> str:
    """As `question_of`, of messages without their record."""
    return _join_contents(keep_learnt_part(messages)[:-1])


def reference_of(record: Record) -> str:
    """What is right: the last answer that is learnt from, or the raw text."""
    return text_of(keep_learnt_part(record["messages"])[-1])


def text_of(message: Message) -> str:
    """What a message says: its content, and its calls of tools a line each."""
    calls = message.get("tool_calls")
    return "\n".join(filter(None, (message["content"], write_calls(calls)))) if calls else message["content"]


def change_texts(message: Message, change: Callable[[str], str]) -> Message:
    """The message with its content and reasoning, and each text in its calls and tools, changed."""
    changed = message.copy()
    changed["content"] = change(message["content"])
    if "reasoning" in message:
        changed["reasoning"] = change(message["reasoning"])
    if "tool_calls" in message:
        changed["tool_calls"] = change_calls(message["tool_calls"], change)
    if "tools" in message:
        changed["tools"] = change_json(message["tools"], change)
    return changed


def whole_text_of(record: Record) -> str:
    """Question and answer, a paragraph a message."""
    return _join_contents(record["messages"])


def _join_contents(messages: list[Message]) -> str:
    return "\n\n".join(text_of(message) for message in messages if message["role"] != "system")


def fold_text(text: str) -> str:
    """The text whatever its case, white space and Unicode form."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def fold_group(group: str) -> str:
    """What groups are compared by: `fold_text`, and 12.50 is 12.5. To join two groups is safe: nothing leaks."""
    folded = fold_text(group)
    return folded.rstrip("0").removesuffix(".") if _DECIMAL.fullmatch(folded) else folded


def hash_texts(*texts: str) -> int:
    """A 64-bit number that follows from these texts, the same on every machine."""
    return int.from_bytes(hashlib.blake2b("\0".join(texts).encode(errors="surrogatepass"), digest_size=8).digest())


def make_record(
    messages: list[Message], source: str, file: str, line: int, task: str, group: str | None, licence: str | None
) -> Record:
    """A record whose id follows from its content alone, whatever other records there are.

    Without a `group` the question is the group, so that two answers to it never stand in two splits.
    """
    if not group:
        folded = fold_text(question_in(messages) or keep_learnt_part(messages)[-1]["content"])
        group = f"{hash_texts(folded):016x}"
    number = hash_texts(json.dumps([task, group, drop_question_marks(messages)], sort_keys=True))
    return {
        "id": f"{source}-{number:016x}", "group": group, "task": task, "messages": messages, "source": source,
        "file": file, "line": line, "licence": licence,
    }  # fmt: skip


def number_of(record_id: str) -> int:
    """The 64-bit number at the end of a record's id: what samples and ties are ordered by."""
    return int(record_id[-16:], 16)


def replace_texts(messages: list[Message], texts: Iterable[str]) -> list[Message]:
    """The messages with other contents."""
    return [{**message, "content": text} for message, text in zip(messages, texts, strict=True)]
