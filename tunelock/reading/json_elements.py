"""Where the objects of a JSON text stand: in an array, behind one another, over several lines."""

import contextlib
import json
import re
from typing import NamedTuple

from tunelock.reading.strict_json import CONTROLS_TOO, LENIENT
from tunelock.run.errors import Stop

PYTHON = re.compile(r"\s*\[?\s*\{\s*'")  # how Python prints a dict


class Element(NamedTuple):
    """Where an object stands in a text, and the line where it starts."""

    line: int
    start: int
    end: int


def is_python(text: str) -> bool:
    """Whether a text begins as Python prints a dict, with single quotes."""
    return PYTHON.match(text) is not None


def advise_on_json(text: str) -> str:
    """What to do about a text that begins like this and is no JSON."""
    return "this is Python's notation, so write it with json.dumps" if is_python(text) else "mend the file"


def find_all_elements(text: str, name: str) -> list[Element] | None:
    """The objects of a file that is one array, or objects behind one another; None if it is not so throughout."""
    start = skip_white_space(text, 0)
    with contextlib.suppress(Stop):
        if text.startswith("[", start):
            return find_elements(text, start + 1, name)
        return _find_objects(text, start, name)
    return None


def find_elements(text: str, position: int, name: str) -> list[Element]:
    """The elements of the array that opens before `position`."""
    elements: list[Element] = []
    line, counted = 1, 0
    while True:
        position = skip_white_space(text, position)
        if text.startswith("]", position):
            break
        if elements and text.startswith(",", position):
            position = skip_white_space(text, position + 1)
        elif elements:
            raise Stop(f"{name}:{text.count(chr(10), 0, position) + 1}: a comma or ']' is missing; mend the file.")
        line += text.count("\n", counted, position)
        counted = position
        position = _find_end(text, position, name)
        elements.append(Element(line, counted, position))
    if text[position + 1 :].strip():
        raise Stop(f"{name}: something follows the end of its array; mend the file.")
    return elements


def _find_objects(text: str, position: int, name: str) -> list[Element] | None:
    """Objects behind one another, all with commas between them or all without, and then no line is one of its own."""
    elements: list[Element] = []
    commas, line, counted = 0, 1, 0
    while text.startswith("{", position):
        line += text.count("\n", counted, position)
        counted = position
        end = _find_end(text, position, name)
        elements.append(Element(line, position, end))
        position = skip_white_space(text, end)
        if text.startswith(",", position):
            commas, position = commas + 1, skip_white_space(text, position + 1)
    by_commas = commas in (len(elements), len(elements) - 1)
    alone = not by_commas and any(_fills_its_line(text, element) for element in elements)
    return elements if position == len(text) and (by_commas or (not commas and not alone)) else None


def _fills_its_line(text: str, element: Element) -> bool:
    """Whether an object is a line of JSON lines."""
    start, end = text.rfind("\n", 0, element.start) + 1, text.find("\n", element.end)
    around = text[start : element.start] + text[element.end : end if end >= 0 else len(text)]
    return not around.strip() and "\n" not in text[element.start : element.end]


def _find_end(text: str, position: int, name: str) -> int:
    """Where the element that starts at `position` ends; a control character in its strings is its own fault."""
    try:
        return LENIENT.raw_decode(text, position)[1]
    except (json.JSONDecodeError, RecursionError) as error:
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            return CONTROLS_TOO.raw_decode(text, position)[1]
        place = text.count("\n", 0, getattr(error, "pos", position)) + 1
        why = f"not JSON ({getattr(error, 'msg', 'nested too deep')}); {advise_on_json(text[position:])}"
        raise Stop(f"{name}:{place}: {why}.") from None


def skip_white_space(text: str, position: int) -> int:
    """The next position that is no white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
