"""One way to write a value as text, whatever file it stands in, and templates that are filled with such values.

CSV knows texts alone, JSON has numbers and truth values, Parquet dates and decimals too, and pandas makes 12.0 of 12
where a column has a hole. What one value is must not hang on that: 12.0 is 12, `True` is true, a date is ISO 8601,
NaN is no value. A text is kept as it is in messages. In a key, which says what task or group a row is of, a text is
read as the value that it spells.
"""

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from tunelock.reading.rows import Columns, Unfit

PLACE = re.compile(r"\{([^{}]+)\}")
EXACT = 2**53  # whole numbers up to here have a float of their own (IEEE 754 binary64)
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_TRUTH = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
_NO_VALUE = frozenset({"", "nan", "NaN", "<NA>", "NaT"})  # the last four: what pandas writes for a hole
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d*?)0*)?(Z|[+-]\d\d:?\d\d)?")


def write_value(value: object) -> str | None:
    """A value as text; None where there is none.

    Raises:
        Unfit: it is a list, a mapping or infinite.
    """
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return _write_number(value)
    if isinstance(value, date):  # a datetime is one too
        return _write_date(value)
    if isinstance(value, time | timedelta | UUID):
        return str(value)
    if isinstance(value, bytes):  # how older writers of Parquet keep texts
        return _decode_text(value)
    raise Unfit("not_text")


def _write_number(number: int | float | Decimal) -> str | None:
    """Whole numbers have no point, whatever their type; others the digits that they have."""
    if math.isnan(number):
        return None
    if math.isinf(number):
        raise Unfit("infinity")
    if number == int(number) and (isinstance(number, int | Decimal) or abs(number) < EXACT):
        return str(int(number))
    return format(number, "f") if isinstance(number, Decimal) else repr(number)


def _write_date(value: date) -> str:
    """ISO 8601 with a blank before the time; midnight is the day alone."""
    return _shorten_moment(value.isoformat(" ")) if isinstance(value, datetime) else value.isoformat()


def _shorten_moment(text: str) -> str:
    """A date and time as `_write_date` has it; any other text as it is."""
    found = _MOMENT.fullmatch(text)
    if not found:
        return text
    day, clock, fraction, zone = found.groups(default="")
    if clock == "00:00:00" and not fraction and not zone:
        return day
    return f"{day} {clock}{'.' * bool(fraction)}{fraction}{zone.replace('Z', '+00:00')}"


def _decode_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Unfit("not_text") from None


def _spell_key(text: str) -> str | None:
    """A text as part of a key: what it spells, its blanks folded, in NFC."""
    text = " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())
    if text in _NO_VALUE:
        return None
    if text[0].isalpha():
        return _TRUTH.get(text, text)
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else _shorten_moment(text)


def read_cell(columns: Columns, key: str) -> str:
    """The text of the value in a column; empty if the column is not there or has none.

    Raises:
        Unfit: it holds something else.
    """
    value = columns.get(key)
    if isinstance(value, str):  # most are
        return value
    try:
        return write_value(value) or ""
    except Unfit as unfit:
        raise Unfit(unfit.reason, key) from None


class _Template(NamedTuple):
    """The words of a template and the names of its columns by turns, words first; whether the words say anything."""

    parts: tuple[str, ...]
    has_words: bool


@cache
def _parse_template(template: str) -> _Template:
    parts = tuple(PLACE.split(template))
    return _Template(parts, bool("".join(parts[::2]).strip()))


def list_places(template: str) -> list[str]:
    """The columns that a template asks for."""
    return list(_parse_template(template).parts[1::2])


def open_paths(columns: Columns, paths: Iterable[str]) -> Columns:
    """The columns, and under its path what an object in one of them holds: `translation.de`. A column of that very
    name is what it is."""
    found: Columns = {}
    for path in (path for path in paths if path not in columns):
        value: Any = columns
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                break
            value = value[key]
        else:
            found[path] = value
    return {**columns, **found} if found else columns


def fill_template(template: str, columns: Columns) -> str:
    """The template with each `{column}` replaced by that column's value, nothing where there is none.

    Raises:
        Unfit: a column is missing or holds no text; or it has no value and the template has words around it, such as
            the brackets of `{question} ({year})`.
    """
    parts, has_words = _parse_template(template)
    filled = list(parts)
    for place in range(1, len(parts), 2):
        filled[place] = _read_column(columns, parts[place])
        if has_words and not filled[place].strip():
            raise Unfit("missing_value", parts[place])
    return "".join(filled)


def _read_column(columns: Columns, name: str) -> str:
    if name not in columns:
        raise Unfit("missing_column", name)
    return read_cell(columns, name)


def fill_key(template: str, columns: Columns, missing: str) -> str:
    """The template of a task or a group, filled so that one thing has one name in every file.

    Raises:
        Unfit: a column holds no text; or it has no value or is not there, for the reason `missing`.
    """
    parts = _parse_template(template).parts
    filled = list(parts)
    for place in range(1, len(parts), 2):
        key = _spell_key(read_cell(columns, parts[place]))
        if key is None:
            raise Unfit(missing, parts[place])
        filled[place] = key
    return "".join(filled).strip()
