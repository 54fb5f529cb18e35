"""JSON files as rows, under the rules of the standard (RFC 8259) where `json.loads` would look away."""

import contextlib
import io
import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import BinaryIO

from tunelock.reading.formats import detect_format
from tunelock.reading.rows import SHOWN, SURROGATE, Fault, Row, Unfit, quote_row, read_numbered_lines
from tunelock.run.errors import Stop

MAX_JSON = 2**30  # bytes of a .json file, which is read as a whole
MAX_DEPTH = 32  # brackets within brackets; chat data needs four
MAX_DIGITS = 400
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
BRACKET = re.compile(r"[\[\]{}]")


def read_jsonl_rows(stream: BinaryIO) -> Iterator[Row | Fault]:
    """Rows of JSON lines; blank lines are no rows."""
    for number, line, whole in read_numbered_lines(stream):
        if not whole:
            yield Fault(number, "line_too_long", quote_row(line[:SHOWN]))
        elif line.strip():
            try:
                yield Row(number, _require_object(_parse_strictly(_decode_utf8(line))))
            except Unfit as unfit:
                yield Fault(number, str(unfit), quote_row(line))


def _decode_utf8(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Unfit("invalid_utf8") from None


def _require_object(value: object) -> dict:
    if not isinstance(value, dict):
        raise Unfit("not_an_object")
    return value


def _parse_strictly(text: str) -> object:
    """Parse JSON; `Unfit` at what the standard forbids or leaves open."""
    if "\0" in text:
        raise Unfit("nul")
    if not text.isascii() and SURROGATE.search(text):
        raise Unfit("invalid_utf8")
    if text.count("[") + text.count("{") > MAX_DEPTH and _measure_depth(text) > MAX_DEPTH:
        raise Unfit("nesting_too_deep")
    try:
        value = STRICT.decode(text)
    except json.JSONDecodeError:
        raise Unfit("not_json") from None
    for string in walk_strings(value) if "\\u" in text else ():
        if "\0" in string:
            raise Unfit("nul")
        if SURROGATE.search(string):
            raise Unfit("lone_surrogate")
    return value


def walk_strings(value: object) -> Iterator[str]:
    """All strings in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in itertools.chain(value, value.values()) if isinstance(value, dict) else value:
            yield from walk_strings(member)


def _measure_depth(text: str) -> int:
    """How deep brackets nest, those in strings left out."""
    level = deepest = 0
    for bracket in BRACKET.findall(STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def _refuse_duplicate_keys(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unfit("duplicate_keys")
    return found


def _read_constant(text: str) -> None:
    """NaN is no value, as null is none: Python writes it for a hole in a table. JSON has neither it nor infinity."""
    if text != "NaN":
        raise Unfit("infinity")


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Unfit("absurd_number")
    return int(text)


def _parse_float(text: str) -> float:
    if len(text) > MAX_DIGITS or math.isinf(float(text)):
        raise Unfit("absurd_number")
    return float(text)


STRICT = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicate_keys,
    parse_constant=_read_constant,
    parse_int=_parse_int,
    parse_float=_parse_float,
)
LENIENT = json.JSONDecoder(parse_int=str)  # finds where a value ends; Python refuses to count 4,301 digits
CONTROLS_TOO = json.JSONDecoder(parse_int=str, strict=False)


def read_json_rows(stream: BinaryIO, name: str) -> Iterator[Row | Fault]:
    """Rows of one JSON array, of an object's only array of objects, of a single object, or of JSON lines so named."""
    data = stream.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise Stop(f"{name} is larger than {MAX_JSON >> 30} GiB; write it as JSON lines (.jsonl), which are streamed.")
    text = data.decode(errors="surrogateescape")
    start = len(text) - len(text.lstrip())
    if text.startswith("[", start):
        yield from _read_array_rows(text, start + 1, name)
        return
    try:
        _, end = LENIENT.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise Stop(f"{name}:{error.lineno}: not JSON ({error.msg}, column {error.colno}); mend the file.") from None
    except RecursionError:
        raise Stop(f"{name}: brackets nest too deep; mend the file.") from None
    if text[end:].strip():
        yield from read_jsonl_rows(io.BytesIO(data))
        return
    try:
        value = _parse_strictly(text[start:end])
    except Unfit as unfit:
        raise Stop(f"{name}: {unfit} somewhere in its one object; write it as an array or as JSON lines.") from None
    for number, row in enumerate(_list_rows(value), 1):
        yield Row(number, row) if isinstance(row, dict) else Fault(number, "not_an_object", quote_row(json.dumps(row)))


def _list_rows(value: object) -> list[object]:
    """The rows of an object's only array of objects; else the value is the one row, as {"messages": [...]} is."""
    if isinstance(value, dict) and not detect_format(value):
        tables = list(filter(_is_table, value.values()))
        if len(tables) == 1:
            return tables[0]
    return [value]


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _read_array_rows(text: str, position: int, name: str) -> Iterator[Row | Fault]:
    """The elements of the array that opens before `position`, each at the line where it starts."""
    line, counted, first = 1, 0, True
    while True:
        position = _skip_white_space(text, position)
        if text.startswith("]", position):
            break
        if not first and text.startswith(",", position):
            position = _skip_white_space(text, position + 1)
        elif not first:
            raise Stop(f"{name}:{text.count(chr(10), 0, position) + 1}: a comma or ']' is missing; mend the file.")
        line += text.count("\n", counted, position)
        counted, first = position, False
        end = _find_end(text, position, name)
        yield _check_element(line, text[position:end])
        position = end
    if text[position + 1 :].strip():
        raise Stop(f"{name}: something follows the end of its array; mend the file.")


def _find_end(text: str, position: int, name: str) -> int:
    """Where the element that starts at `position` ends; a control character in its strings is its own fault."""
    try:
        return LENIENT.raw_decode(text, position)[1]
    except (json.JSONDecodeError, RecursionError) as error:
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            return CONTROLS_TOO.raw_decode(text, position)[1]
        place = text.count("\n", 0, getattr(error, "pos", position)) + 1
        raise Stop(f"{name}:{place}: not JSON ({getattr(error, 'msg', 'nested too deep')}); mend it.") from None


def _skip_white_space(text: str, position: int) -> int:
    """The next position that is no white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _check_element(line: int, text: str) -> Row | Fault:
    """One element of a JSON file under the rules of a JSON line."""
    try:
        return Row(line, _require_object(_parse_strictly(text)))
    except Unfit as unfit:
        return Fault(line, str(unfit), quote_row(text))
