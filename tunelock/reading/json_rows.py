"""JSON files as rows: lines of objects, arrays, objects over several lines, and one object that is a table."""

import io
import json
from collections.abc import Iterator
from typing import BinaryIO

from tunelock.reading.json_elements import Element, advise_on_json, find_all_elements, find_elements, skip_white_space
from tunelock.reading.json_tables import list_table_rows
from tunelock.reading.rows import MAX_LINE, SHOWN, Fault, Rest, Row, Unfit, quote_row, read_numbered_lines
from tunelock.reading.strict_json import LENIENT, parse_strictly
from tunelock.run.errors import Stop

MAX_JSON = 2**30  # bytes of a .json file, which is read as a whole


def read_jsonl_rows(stream: BinaryIO, name: str) -> Iterator[Row | Fault]:
    """Rows of JSON lines; blank lines are no rows.

    Where the first line is no whole object, the file may be an array, or objects over several lines: it is read so if
    all of it is. A file of one line is read as a .json file is.
    """
    number, head = 0, b"\n"
    while head and not head.strip():
        number, head = number + 1, stream.readline(MAX_LINE + 1)
    if _is_whole_object(head):
        following = stream.readline(MAX_LINE + 1)
        if following:
            yield from _read_lines(Rest(head + following, stream), number)
        else:
            yield from _read_one_object(head, number, name)
        return
    data = head + (stream.read(MAX_JSON) if head.lstrip()[:1] in (b"{", b"[") else b"")
    text = "\n" * (number - 1) + data.decode(errors="surrogateescape")
    if elements := find_all_elements(text, name):
        yield from _check_elements(elements, text)
    else:
        yield from _read_lines(Rest(data, stream), number)


def _is_whole_object(line: bytes) -> bool:
    try:
        return isinstance(LENIENT.decode(line.decode(errors="surrogateescape").strip()), dict)
    except (ValueError, RecursionError):
        return False


def _read_lines(stream: Rest, first: int) -> Iterator[Row | Fault]:
    """A row a line; the first one has the number `first`."""
    for number, line, whole in read_numbered_lines(io.BufferedReader(stream, 2**20), first):
        if not whole:
            yield Fault(number, "line_too_long", quote_row(line[:SHOWN]))
        elif line.strip():
            try:
                yield Row(number, _require_object(parse_strictly(_decode_utf8(line))))
            except Unfit as unfit:
                yield Fault(number, str(unfit), quote_row(line))


def _read_one_object(line: bytes, number: int, name: str) -> Iterator[Row | Fault]:
    """The rows of the only line of a file."""
    try:
        rows = list_table_rows(parse_strictly(_decode_utf8(line)))
    except Unfit as unfit:
        yield Fault(number, str(unfit), quote_row(line))
        return
    yield from _number_rows(rows, number)


def _number_rows(rows: list[object], first: int = 1) -> Iterator[Row | Fault]:
    for number, row in enumerate(rows, first):
        yield Row(number, row) if isinstance(row, dict) else Fault(number, "not_an_object", quote_row(json.dumps(row)))


def _decode_utf8(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Unfit("invalid_utf8") from None


def _require_object(value: object) -> dict:
    if not isinstance(value, dict):
        raise Unfit("not_an_object")
    return value


def read_json_rows(stream: BinaryIO, name: str) -> Iterator[Row | Fault]:
    """Rows of one JSON array, of an object that is a table, of a single object, or of JSON lines so named."""
    data = stream.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise Stop(f"{name} is larger than {MAX_JSON >> 30} GiB; write it as JSON lines (.jsonl), which are streamed.")
    text = data.decode(errors="surrogateescape")
    start = skip_white_space(text, 0)
    if text.startswith("[", start):
        yield from _check_elements(find_elements(text, start + 1, name), text)
        return
    try:
        _, end = LENIENT.raw_decode(text, start)
    except json.JSONDecodeError as error:
        why = f"not JSON ({error.msg}, column {error.colno}); {advise_on_json(text[start:])}"
        raise Stop(f"{name}:{error.lineno}: {why}.") from None
    except RecursionError:
        raise Stop(f"{name}: brackets nest too deep; mend the file.") from None
    if text[end:].strip():
        yield from read_jsonl_rows(io.BytesIO(data), name)
        return
    try:
        value = parse_strictly(text[start:end])
    except Unfit as unfit:
        raise Stop(f"{name}: {unfit} somewhere in its one object; write it as an array or as JSON lines.") from None
    yield from _number_rows(list_table_rows(value))


def _check_elements(elements: list[Element], text: str) -> Iterator[Row | Fault]:
    """The elements of a JSON file under the rules of a JSON line, by line; by number where some share a line."""
    by_line = len({element.line for element in elements}) == len(elements)
    for number, element in enumerate(elements, 1):
        place, content = element.line if by_line else number, text[element.start : element.end]
        try:
            yield Row(place, _require_object(parse_strictly(content)))
        except Unfit as unfit:
            yield Fault(place, str(unfit), quote_row(content))
