"""Why a list of messages is no conversation that one can learn from."""

from collections.abc import Mapping

from tunelock.records.record import is_learnt, weights_of

ROLES = ("system", "user", "assistant", "tool")
AFTER: dict[str | None, set[str]] = {  # which roles may follow a role
    None: {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}


def find_chat_fault(messages: object) -> str | None:
    """Why these messages are no conversation that one can learn from, or None.

    The order is: at most one system message, first; user and assistant by turns; tool messages between two
    assistant messages; an assistant message at the end.
    """
    if not isinstance(messages, list) or not messages:
        return "no_messages"
    before = None
    for message in messages:
        fault = _find_message_fault(message)
        if fault or message["role"] not in AFTER[before]:
            return fault or _name_order_fault(before, message["role"])
        before = message["role"]
    if before != "assistant":
        return "missing_answer"
    return None if any(map(is_learnt, messages)) else "nothing_to_learn"


def _find_message_fault(message: object) -> str | None:
    """What is wrong with this message, wherever it stands."""
    if not isinstance(message, dict) or "role" not in message:
        return "not_a_message"
    if message["role"] not in ROLES:
        return "unknown_role"
    if not isinstance(message.get("content"), str):
        return "content_not_text"
    if message.get("tool_calls"):
        return _find_weight_fault(message) if message["role"] == "assistant" else "tool_calls_not_on_answer"
    if not message["content"].strip():
        return "empty_answer" if message["role"] == "assistant" else "empty_turn"
    return _find_weight_fault(message)


def _find_weight_fault(message: Mapping[str, object]) -> str | None:
    """Why one cannot tell whether to learn from this message, or None.

    Files that mark every message give the other roles 0, which says what holds anyway; 1 asks for what is not done.
    """
    given = weights_of(message)
    if message.get("train_detail"):  # single characters of an answer
        return "train_detail"
    if not given:
        return None
    if any(weight not in (0, 1) for weight in given) or len(set(given)) > 1:
        return "bad_weight"
    return "weight_not_on_answer" if message["role"] != "assistant" and 1 in given else None


def _name_order_fault(before: str | None, role: str) -> str:
    """The name of a role at the wrong place."""
    if role == "system":
        return "second_system" if before == "system" else "late_system"
    return "assistant_first" if role == "assistant" and before in (None, "system") else "roles_not_alternating"
