"""JSON under the rules of the standard (RFC 8259) where `json.loads` would look away, and where a value ends."""

import itertools
import json
import math
import re
from collections.abc import Iterator

from tunelock.reading.rows import SURROGATE, Unfit

MAX_DEPTH = 32  # brackets within brackets; chat data needs four
MAX_DIGITS = 400
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
BRACKET = re.compile(r"[\[\]{}]")


def parse_strictly(text: str) -> object:
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
