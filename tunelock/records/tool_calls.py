"""Calls of tools as a record keeps them, and the strings in them.

A call has `name` and `arguments`, the text of a JSON object as in OpenAI's files: as text it keeps the order of its
keys, which is the order in which a model learns to write them.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, NotRequired, TypedDict


class ToolCall(TypedDict):
    """One call; `id` is what the tool's message answers to, for the templates that write it."""

    name: str
    arguments: str
    id: NotRequired[str]


def make_tool_call(name: str, arguments: dict[str, Any], call_id: str | None = None) -> ToolCall:
    """A call whose arguments keep their order."""
    call = ToolCall(name=name, arguments=json.dumps(arguments, ensure_ascii=False))
    if call_id:
        call["id"] = call_id
    return call


def write_calls(calls: Iterable[ToolCall]) -> str:
    """Calls as people, rules and n-grams read them: a line of JSON each, whatever a chat template makes of them."""
    return "\n".join(f'{{"name": {json.dumps(call["name"])}, "arguments": {call["arguments"]}}}' for call in calls)


def change_calls(calls: Iterable[ToolCall], change: Callable[[str], str]) -> list[ToolCall]:
    """The calls with their names and each text among their arguments changed."""
    changed: list[ToolCall] = []
    for call in calls:
        changed.append({**call, "name": change(call["name"]), "arguments": change_json(call["arguments"], change)})
    return changed


def change_json(text: str, change: Callable[[str], str]) -> str:
    """The text of a JSON value with each text in it changed; a number becomes text where `change` changes it."""
    return json.dumps(_change_strings(json.loads(text), change), ensure_ascii=False)


def _change_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {change(key): _change_strings(member, change) for key, member in value.items()}
    if isinstance(value, list):
        return [_change_strings(member, change) for member in value]
    if isinstance(value, str):
        return change(value)
    if isinstance(value, bool) or value is None:
        return value
    changed = change(str(value))
    return value if changed == str(value) else changed


def list_argument_texts(call: ToolCall) -> list[str]:
    """The names of the arguments of a call, and the texts and numbers among their values."""
    texts: list[str] = []
    waiting: list[Any] = [json.loads(call["arguments"])]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            texts += value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            texts.append(str(value))
    return texts
