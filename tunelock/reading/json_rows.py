"""JSON files as rows, under the rules of the standard (RFC 8259) where `json.loads` would look away."""

import contextlib
import io
import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import BinaryIO

from tunelock.reading.formats import detect
from tunelock.reading.rows import SHOWN, SURROGATE, Fault, Row, Unfit, lines_of, shown
from tunelock.run.errors import Stop

MAX_JSON = 2**30  # bytes of a .json file, which is read as a whole
MAX_DEPTH = 32  # brackets within brackets; chat data needs four
MAX_DIGITS = 400
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
BRACKET = re.compile(r"[\[\]{}]")


def jsonl_rows(stream: BinaryIO) -> Iterator[Row | Fault]:
    """Rows of JSON lines; blank lines are no rows."""
    for number, line, whole in lines_of(stream):
        if not whole:
            yield Fault(number, "line_too_long", shown(line[:SHOWN]))
        elif line.strip():
            try:
                yield Row(number, row_of(strict_json(utf8(line))))
            except Unfit as unfit:
                yield Fault(number, str(unfit), shown(line))


def utf8(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Unfit("invalid_utf8") from None


def row_of(value: object) -> dict:
    if not isinstance(value, dict):
        raise Unfit("not_an_object")
    return value


def strict_json(text: str) -> object:
    """Parse JSON; `Unfit` at what the standard forbids or leaves open."""
    if "\0" in text:
        raise Unfit("nul")
    if not text.isascii() and SURROGATE.search(text):
        raise Unfit("invalid_utf8")
    if text.count("[") + text.count("{") > MAX_DEPTH and depth(text) > MAX_DEPTH:
        raise Unfit("nesting_too_deep")
    try:
        value = STRICT.decode(text)
    except json.JSONDecodeError:
        raise Unfit("not_json") from None
    for string in strings(value) if "\\u" in text else ():
        if "\0" in string:
            raise Unfit("nul")
        if SURROGATE.search(string):
            raise Unfit("lone_surrogate")
    return value


def strings(value: object) -> Iterator[str]:
    """All strings in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in itertools.chain(value, value.values()) if isinstance(value, dict) else value:
            yield from strings(member)


def depth(text: str) -> int:
    """How deep brackets nest, those in strings left out."""
    level = deepest = 0
    for bracket in BRACKET.findall(STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def unique_keys(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unfit("duplicate_keys")
    return found


def no_constant(_text: str) -> None:
    raise Unfit("nan_or_infinity")


def bounded_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Unfit("absurd_number")
    return int(text)


def bounded_float(text: str) -> float:
    if len(text) > MAX_DIGITS or math.isinf(float(text)):
        raise Unfit("absurd_number")
    return float(text)


STRICT = json.JSONDecoder(
    object_pairs_hook=unique_keys, parse_constant=no_constant, parse_int=bounded_int, parse_float=bounded_float
)
LENIENT = json.JSONDecoder(parse_int=str)  # finds where a value ends; Python refuses to count 4,301 digits
CONTROLS_TOO = json.JSONDecoder(parse_int=str, strict=False)


def json_rows(stream: BinaryIO, name: str) -> Iterator[Row | Fault]:
    """Rows of one JSON array, of an object's only array of objects, of a single object, or of JSON lines so named."""
    data = stream.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise Stop(f"{name} is larger than {MAX_JSON >> 30} GiB; write it as JSON lines (.jsonl), which are streamed.")
    text = data.decode(errors="surrogateescape")
    start = len(text) - len(text.lstrip())
    if text.startswith("[", start):
        yield from array_rows(text, start + 1, name)
        return
    try:
        _, end = LENIENT.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise Stop(f"{name}:{error.lineno}: not JSON ({error.msg}, column {error.colno}); mend the file.") from None
    except RecursionError:
        raise Stop(f"{name}: brackets nest too deep; mend the file.") from None
    if text[end:].strip():
        yield from jsonl_rows(io.BytesIO(data))
        return
    try:
        value = strict_json(text[start:end])
    except Unfit as unfit:
        raise Stop(f"{name}: {unfit} somewhere in its one object; write it as an array or as JSON lines.") from None
    is_row = not isinstance(value, dict) or detect(value)  # a lone {"messages": [...]} is a row, not a table
    arrays = [] if is_row else [member for member in value.values() if is_table(member)]
    for number, row in enumerate(arrays[0] if len(arrays) == 1 else [value], 1):
        yield Row(number, row) if isinstance(row, dict) else Fault(number, "not_an_object", shown(json.dumps(row)))


def is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def array_rows(text: str, position: int, name: str) -> Iterator[Row | Fault]:
    """The elements of the array that opens before `position`, each at the line where it starts."""
    line, counted, first = 1, 0, True
    while True:
        position = skip(text, position)
        if text.startswith("]", position):
            break
        if not first and text.startswith(",", position):
            position = skip(text, position + 1)
        elif not first:
            raise Stop(f"{name}:{text.count(chr(10), 0, position) + 1}: a comma or ']' is missing; mend the file.")
        line += text.count("\n", counted, position)
        counted, first = position, False
        end = end_of(text, position, name)
        yield checked(line, text[position:end])
        position = end
    if text[position + 1 :].strip():
        raise Stop(f"{name}: something follows the end of its array; mend the file.")


def end_of(text: str, position: int, name: str) -> int:
    """Where the element that starts at `position` ends; a control character in its strings is its own fault."""
    try:
        return LENIENT.raw_decode(text, position)[1]
    except (json.JSONDecodeError, RecursionError) as error:
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            return CONTROLS_TOO.raw_decode(text, position)[1]
        place = text.count("\n", 0, getattr(error, "pos", position)) + 1
        raise Stop(f"{name}:{place}: not JSON ({getattr(error, 'msg', 'nested too deep')}); mend it.") from None


def skip(text: str, position: int) -> int:
    """The next position that is no white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def checked(line: int, text: str) -> Row | Fault:
    """One element of a JSON file under the rules of a JSON line."""
    try:
        return Row(line, row_of(strict_json(text)))
    except Unfit as unfit:
        return Fault(line, str(unfit), shown(text))
