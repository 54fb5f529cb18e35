"""The one record type: a conversation (or a raw text) with what is known about where it came from.

A record has `id`, `group` (what must stay in one split), `task`, `messages`, `source` (its name in params.yaml),
`file` and `line` (the row's number where a file has no lines) and `licence`. `messages` are those of ChatML:
role (system, user, assistant, tool) and content. An answer that is read and not learnt from has `weight` 0, as in
OpenAI's fine-tuning files; no other message has a weight. A raw text is a single message of the role `text`.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable

ROLES = ("system", "user", "assistant", "tool")
MARKS = (
    "weight",
    "train",
    "train_detail",
)  # what says which answers are learnt from (see `tunelock.reading.formats`)
AFTER = {  # which roles may follow a role
    None: {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}


def turns(instruction: str, context: str, response: str, system: str = "") -> list[dict]:
    """The messages of one question with its answer; the context stands below the instruction."""
    question = "\n\n".join(filter(None, (instruction.strip(), context.strip())))
    said = [("system", system.strip()), ("user", question), ("assistant", response.strip())]
    return [{"role": role, "content": content} for role, content in said if content or role != "system"]


def chat_fault(messages: object) -> str | None:
    """Why these messages are no conversation that one can learn from, or None.

    The order is: at most one system message, first; user and assistant by turns; tool messages between two
    assistant messages; an assistant message at the end.
    """
    if not isinstance(messages, list) or not messages:
        return "no_messages"
    before = None
    for message in messages:
        fault = message_fault(message)
        if fault or message["role"] not in AFTER[before]:
            return fault or order_fault(before, message["role"])
        before = message["role"]
    if before != "assistant":
        return "missing_answer"
    return None if any(map(is_learnt, messages)) else "nothing_to_learn"


def message_fault(message: object) -> str | None:
    """Why this message is none, wherever it stands."""
    if not isinstance(message, dict) or "role" not in message:
        return "not_a_message"
    if message.get("tool_calls") or message.get("function_call"):
        return "tool_calls"  # few templates render them, and those that do not would drop them in silence
    if message["role"] not in ROLES:
        return "unknown_role"
    if not isinstance(message.get("content"), str):
        return "content_not_text"
    if not message["content"].strip():
        return "empty_answer" if message["role"] == "assistant" else "empty_turn"
    return weight_fault(message)


def weight_fault(message: dict) -> str | None:
    """Why one cannot tell whether to learn from this message, or None.

    Files that mark every message give the other roles 0, which says what holds anyway; 1 asks for what is not done.
    """
    given = weights(message)
    if message.get("train_detail"):  # single characters of an answer
        return "train_detail"
    if any(weight not in (0, 1) for weight in given) or len(set(given)) > 1:
        return "bad_weight"
    return "weight_not_on_answer" if message["role"] != "assistant" and 1 in given else None


def weights(message: dict) -> list:
    """What a message says about being learnt from: 0 or false, 1 or true, or nothing."""
    return [message[mark] for mark in MARKS[:2] if message.get(mark) is not None]


def order_fault(before: str | None, role: str) -> str:
    """The name of a role at the wrong place."""
    if role == "system":
        return "second_system" if before == "system" else "late_system"
    return "assistant_first" if role == "assistant" and before in (None, "system") else "roles_not_alternating"


def is_text(record: dict) -> bool:
    """Is it a raw text for domain adaptation, rather than a conversation?"""
    return record["messages"][0]["role"] == "text"


def is_learnt(message: dict) -> bool:
    """Is it an answer (or a raw text) that is learnt from?"""
    return message["role"] in ("assistant", "text") and 0 not in weights(message)


def learnt_part(messages: list[dict]) -> list[dict]:
    """The messages up to the last answer that is learnt from (all, if none is); no loss depends on what follows."""
    last = max((place for place, message in enumerate(messages) if is_learnt(message)), default=len(messages) - 1)
    return messages[: last + 1]


def turns_in(messages: list[dict]) -> int:
    """How many questions the user asks."""
    return sum(message["role"] == "user" for message in messages)


def last_turns(messages: list[dict], most: int | None) -> list[dict]:
    """The last `most` questions with all that follows them (None: all); a system message stays first."""
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
    if most is None or len(asked) <= most:
        return messages
    return [message for message in messages[:1] if message["role"] == "system"] + messages[asked[-most] :]


def question(record: dict) -> str:
    """All that stands before the last answer, system message excepted; empty for a raw text."""
    said = [m["content"] for m in learnt_part(record["messages"])[:-1] if m["role"] != "system"]
    return "\n\n".join(said)


def answer(record: dict) -> str:
    """The last answer that is learnt from, or the raw text."""
    return learnt_part(record["messages"])[-1]["content"]


def whole_text(record: dict) -> str:
    """Question and answer, a paragraph a message."""
    return "\n\n".join(m["content"] for m in record["messages"] if m["role"] != "system")


def folded(text: str) -> str:
    """The text whatever its case, white space and Unicode form."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def hash64(*texts: str) -> int:
    """A 64-bit number that follows from these texts, the same on every machine."""
    return int.from_bytes(hashlib.blake2b("\0".join(texts).encode(errors="surrogatepass"), digest_size=8).digest())


def make_record(
    messages: list[dict], source: str, file: str, line: int, task: str, group: str | None, licence: str | None
) -> dict:
    """A record whose id follows from its content alone, whatever other records there are.

    Without a `group` the question is the group, so that two answers to it never stand in two splits.
    """
    record = {"messages": messages, "source": source, "file": file, "line": line, "task": task, "licence": licence}
    group = group or f"{hash64(folded(question(record) or answer(record))):016x}"
    content = json.dumps([task, group, messages], sort_keys=True)
    return {"id": f"{source}-{hash64(content):016x}", "group": group, **record}


def number_of(record_id: str) -> int:
    """The 64-bit number at the end of a record's id: what samples and ties are ordered by."""
    return int(record_id[-16:], 16)


def with_texts(messages: list[dict], texts: Iterable[str]) -> list[dict]:
    """The messages with other contents."""
    return [{**message, "content": text} for message, text in zip(messages, texts, strict=True)]
