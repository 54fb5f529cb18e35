"""A JSON object that holds a whole table, as pandas and others write it, as rows."""

from itertools import chain
from typing import Any

from tunelock.reading.formats import FORMATS, detect_format


def list_table_rows(value: object) -> list[object]:
    """The rows of the table that an object is; the value itself is the one row where it is none.

    Known are an object of equally long lists, of objects by column or by row (`orient` of pandas), of `columns` and
    `data`, and one that holds one array of objects beside other things. {"messages": [...]} is a row.
    """
    if not isinstance(value, dict) or not value:
        return [value]
    kind = detect_format(value)
    if _is_object_of_lists(value, kind):
        return [dict(zip(value, cells)) for cells in zip(*value.values())]
    if all(isinstance(part, dict) and part for part in value.values()):
        return _list_by_key(value, kind)
    if kind:
        return [value]
    if _has_columns_and_data(value):
        return [dict(zip(value["columns"], cells)) for cells in value["data"]]
    tables = list(filter(_is_table, value.values()))
    return tables[0] if len(tables) == 1 else [value]


def _is_object_of_lists(value: dict[str, Any], kind: str | None) -> bool:
    """Whether an object is a table by columns; a chat is a list of objects, and so no such column."""
    if not all(isinstance(column, list) for column in value.values()):
        return False
    cells = list(chain.from_iterable(value.values()))
    equal = len(set(map(len, value.values()))) == 1
    chats = FORMATS[kind].columns if kind and not FORMATS[kind].one_question and kind != "text" else ()
    of_lists = all(isinstance(cell, list) for cell in chain.from_iterable(value[name] for name in chats))
    return equal and of_lists and bool(cells) and not any(isinstance(cell, dict) for cell in cells)


def _list_by_key(value: dict[str, Any], kind: str | None) -> list[object]:
    """The rows of an object of objects: by column where these have a format's names, else by row with its `key`."""
    keys = [list(part) for part in value.values()]
    if len(keys) > 1 and all(other == keys[0] for other in keys) and (kind or all(map(str.isdigit, keys[0]))):
        columns = map(dict.values, value.values())
        return [dict(zip(value, cells)) for cells in zip(*columns)]
    if kind or len(keys) < 2 or not set(keys[0]).intersection(*keys):
        return [value]
    return [{"key": key, **row} for key, row in value.items()]


def _has_columns_and_data(value: dict[str, Any]) -> bool:
    columns, data = value.get("columns"), value.get("data")
    if not isinstance(columns, list) or not isinstance(data, list) or not all(isinstance(c, str) for c in columns):
        return False
    return bool(data) and all(isinstance(cells, list) and len(cells) == len(columns) for cells in data)


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
