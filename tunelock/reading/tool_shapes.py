"""Tools and calls of tools in the shapes in which people keep them, and the way to those of a record and back.

OpenAI's `tools` and `tool_calls` (https://platform.openai.com/docs/guides/function-calling), its older `functions` and
`function_call`, and the turns `function_call` of ShareGPT files (LLaMA-Factory, data/README.md). Each may be JSON or
the text of JSON. An object loses its keys without a value, as TRL has it: a table fills every row's objects up with the
keys of all the others. A text of JSON keeps them.
"""

import json
from typing import Any

from tunelock.reading.rows import Columns, Unfit
from tunelock.records.record import Message
from tunelock.records.tool_calls import ToolCall, make_tool_call

TOOL_COLUMNS = ("tools", "functions")


def read_tools(columns: Columns) -> str | None:
    """The tools of a row as the JSON text of OpenAI's list; None where it has none.

    Raises:
        Unfit: they are no list of functions with names.
    """
    found = next((columns[name] for name in TOOL_COLUMNS if columns.get(name)), None)
    tools = _parse_field(found, "bad_tools")
    if not tools:
        return None
    listed = [_wrap_tool(tool) for tool in (tools if isinstance(tools, list) else [tools])]
    return json.dumps(listed, ensure_ascii=False)


def _wrap_tool(tool: Any) -> dict[str, Any]:
    """A function in the form of OpenAI's list."""
    tool = _parse_field(tool, "bad_tools")
    whole = tool if isinstance(tool, dict) and isinstance(tool.get("function"), dict) else None
    function = whole["function"] if whole else tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unfit("bad_tools")
    return whole or {"type": "function", "function": function}


def list_tool_names(tools: str) -> list[str]:
    """The names of the functions in the text of `read_tools`."""
    return [tool["function"]["name"] for tool in json.loads(tools)]


def read_calls(message: Columns) -> list[ToolCall]:
    """The calls of an assistant's message: none, or those of `tool_calls` or `function_call`.

    Raises:
        Unfit: one has no name, or arguments that are no JSON object.
    """
    return read_call_list(message.get("tool_calls") or message.get("function_call") or [])


def read_call_list(found: Any) -> list[ToolCall]:
    """One call or a list of calls, as JSON or its text."""
    calls = _parse_field(found, "bad_tool_call")
    return [_read_call(_parse_field(call, "bad_tool_call")) for call in (calls if isinstance(calls, list) else [calls])]


def _read_call(call: Any) -> ToolCall:
    inner = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"].strip():
        raise Unfit("bad_tool_call")
    given = inner.get("arguments", inner.get("parameters"))  # the second is Llama's word
    arguments = _parse_field(given, "bad_tool_call") or {}
    if not isinstance(arguments, dict):
        raise Unfit("bad_tool_call")
    number = call.get("id")
    return make_tool_call(inner["name"].strip(), arguments, number if isinstance(number, str) else None)


def _parse_field(value: Any, reason: str) -> Any:
    """The value of a text of JSON; an object as it is, without its empty keys."""
    if not isinstance(value, str):
        return _drop_nulls(value)
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError):
        raise Unfit(reason) from None


def _drop_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_nulls(member) for key, member in value.items() if member is not None}
    return list(map(_drop_nulls, value)) if isinstance(value, list) else value


def write_openai_calls(message: Message) -> Columns:
    """The calls of a message as OpenAI's `tool_calls`; nothing where it has none."""
    calls = []
    for call in message.get("tool_calls", ()):
        number = {"id": call["id"]} if "id" in call else {}
        calls.append({**number, "type": "function", "function": {key: call[key] for key in ("name", "arguments")}})
    return {"tool_calls": calls} if calls else {}
