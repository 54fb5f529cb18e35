"""Every fault of reading gets its answer: a row is set aside with reason and line, a file stops, or nothing is lost."""

import codecs
import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelock.reading import json_rows, reading, rows
from tunelock.reading.reading import Source, read_source
from tunelock.reading.sources import RawFile
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line

GOOD = {"question": "Why?", "answer": "Because."}
LINE = json.dumps(GOOD).encode()
OTHER = LINE.replace(b"Why", b"How")
CSV = b"question,answer\n"


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)


def read_file(name: str, content: bytes, **source) -> list[dict]:
    """What becomes of each row of a file in data/raw."""
    Path("data/raw", name).write_bytes(content)
    return list(read_source("mine", Source(f"data/raw/{name}", **source)))


def told(name: str, content: bytes, **source) -> list[tuple[int, str]]:
    """Line and reason, or answer, of each row."""
    found = read_file(name, content, **source)
    return [(row["line"], row["reason"] if "status" in row else row["messages"][-1]["content"]) for row in found]


def stops(name: str, content: bytes, **source) -> str:
    with pytest.raises(Stop) as stop:
        read_file(name, content, **source)
    assert str(stop.value).startswith(f"data/raw/{name}")
    return str(stop.value).removeprefix(f"data/raw/{name}")


def parquet(table) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


BAD_LINES = {
    "not JSON": (b"question: Why?", "not_json"),
    "truncated": (LINE[:-5], "not_json"),
    "raw control character": (LINE.replace(b"Why", b"W\ty"), "not_json"),
    "two objects": (LINE + LINE, "not_json"),
    "invalid UTF-8": (LINE.replace(b"Why", b"Wh\xff"), "invalid_utf8"),
    "surrogate in UTF-8": (LINE.replace(b"Why", b"\xed\xa0\x80"), "invalid_utf8"),
    "raw NUL": (LINE.replace(b"Why", b"W\0y"), "nul"),
    "only NULs": (b"\0" * 99, "nul"),
    "escaped NUL": (LINE.replace(b"Why", rb"W\u0000y"), "nul"),
    "escaped NUL in a key": (LINE.replace(b"}", rb', "\u0000": 1}'), "nul"),
    "lone surrogate": (LINE.replace(b"Why", rb"\ud83d"), "lone_surrogate"),
    "surrogates in the wrong order": (LINE.replace(b"Why", rb"\ude00\ud83d"), "lone_surrogate"),
    "key twice": (LINE.replace(b"answer", b"question"), "duplicate_keys"),
    "key twice, nested": (LINE.replace(b"}", b', "more": [{"a": 1, "a": 1}]}'), "duplicate_keys"),
    "-Infinity": (LINE.replace(b"}", b', "score": [-Infinity]}'), "infinity"),
    "1e999": (LINE.replace(b"}", b', "score": 1e999}'), "absurd_number"),
    "500 digits": (LINE.replace(b"}", b', "score": ' + b"9" * 500 + b"}"), "absurd_number"),
    "5,000 digits": (LINE.replace(b"}", b', "score": ' + b"9" * 5000 + b"}"), "absurd_number"),
    "500 places": (LINE.replace(b"}", b', "score": 0.' + b"1" * 500 + b"}"), "absurd_number"),
    "100 brackets": (LINE.replace(b"}", b', "more": ' + b"[" * 100 + b"]" * 100 + b"}"), "nesting_too_deep"),
    "100,000 brackets": (b"[" * 100_000, "nesting_too_deep"),
    "a list": (b"[1]", "not_an_object"),
    "a string": (b'"question, answer"', "not_an_object"),
    "a field that flips type": (LINE.replace(b'"Because."', b"[5]"), "not_text 'answer'"),
    "another format": (b'{"text": "Once upon a time."}', "other_format"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_set_aside_and_the_lines_around_it_stay(bad, reason):
    content = b"\n".join([LINE, bad, OTHER])
    assert told("a.jsonl", content) == [(1, "Because."), (2, reason), (3, "Because.")]


@pytest.mark.parametrize(("bad", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_element_of_an_array_is_set_aside_or_the_file_stops_at_its_line(bad, reason):
    content = b"[" + b",\n".join([LINE, bad, OTHER]) + b"]"
    kept = [(1, "Because."), (2, reason), (3, "Because.")]
    if bad == b"[" * 100_000 or (reason == "not_json" and b"\t" not in bad) or bad == b"\0" * 99:
        assert stops("a.json", content)[:3] in (":2:", ":3:")  # where such an element ends, nobody can tell
    else:
        assert told("a.json", content) == kept


def test_a_row_set_aside_keeps_source_file_and_text_and_its_text_is_bounded():
    [row, long, _] = read_file("a.jsonl", b'{"broken\xff\n' + b"x" * 9000 + b"\n" + LINE)
    assert row == {
        "source": "mine", "file": "data/raw/a.jsonl", "line": 1, "reason": "invalid_utf8", "raw": '{"broken\\xff',
        "status": "set_aside",
    }  # fmt: skip
    assert long["raw"] == "x" * rows.SHOWN


@pytest.mark.parametrize("excess", [1, 2, 30, 31, 100])
def test_a_line_over_the_limit_is_set_aside_and_those_after_it_are_intact(monkeypatch, excess):
    monkeypatch.setattr(rows, "MAX_LINE", len(LINE))
    content = LINE + b"\n" + b"x" * (len(LINE) + excess) + b"\n" + LINE + b"\n" + OTHER
    assert told("a.jsonl", content) == [(1, "Because."), (2, "line_too_long"), (3, "Because."), (4, "Because.")]


def test_a_long_last_line_without_an_end_is_set_aside(monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE", len(LINE))
    assert told("a.jsonl", LINE + b"\r\n" + LINE + b"x" * 99) == [(1, "line_too_long"), (2, "line_too_long")]


def test_a_long_line_of_a_text_is_set_aside_and_the_paragraphs_around_it_stay(monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE", 9)
    found = told("a.txt", b"First.\n" + b"x" * 10 + b"\nLast.\n\n", chunk_chars=8)
    assert sorted(found) == [(1, "First."), (2, "line_too_long"), (3, "Last.")]


def test_brackets_in_strings_nest_nothing():
    line = json.dumps({"question": "[" * 99 + '\\" {' + "{" * 99, "answer": "Because."}).encode()
    assert told("a.jsonl", line) == [(1, "Because.")]
    assert told("b.json", b'{"data": [' + b",".join([line, line]) + b"]}") == [(1, "Because."), (2, "Because.")]


MARKED = {"utf-16": codecs.BOM_UTF16_LE, "utf-32": codecs.BOM_UTF32_LE}
FILES = {"a.jsonl": LINE, "a.json": b"[" + LINE + b"]", "a.csv": CSV + b"Why?,Because.", "a.txt": b"Because."}


@pytest.mark.parametrize("name", FILES)
def test_a_byte_order_mark_is_taken_off_and_counted_as_a_repair(name):
    [row] = read_file(name, codecs.BOM_UTF8 + FILES[name])
    assert row["messages"][-1]["content"] == "Because."
    assert row["repairs"] == ["byte_order_mark"]
    [plain] = read_file(name, FILES[name])
    assert "repairs" not in plain
    assert plain["id"] == row["id"]


def test_a_mark_before_a_bad_line_is_counted_on_the_first_good_one():
    found = read_file("a.jsonl", codecs.BOM_UTF8 + b"{\n" + LINE + b"\n" + OTHER)
    assert [row.get("repairs") for row in found] == [None, ["byte_order_mark"], None]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", FILES)
def test_a_wide_encoding_stops_with_its_name_which_makes_it_readable(name, encoding):
    content = FILES[name].decode().encode(encoding)
    assert f"`encoding: {encoding}`" in stops(name, content)
    assert [answer for _, answer in told(name, content, encoding=encoding)] == ["Because."]


def test_few_letters_among_other_scripts_tell_utf_16_too():
    assert "utf-16-le" in stops("a.jsonl", json.dumps({"text": "汉字" * 30}, ensure_ascii=False).encode("utf-16-le"))


def test_a_mark_of_a_named_byte_order_is_no_text():
    content = codecs.BOM_UTF16_BE + LINE.decode().encode("utf-16-be")
    assert told("a.jsonl", content, encoding="utf-16-be") == [(1, "Because.")]


def test_a_declared_encoding_reads_every_character():
    text = "Größe, 😀 \u2028 ÿ\r\n" * 9000
    content = json.dumps({"text": text}, ensure_ascii=False).encode("utf-16")
    [row] = read_file("a.jsonl", content, encoding="utf-16", chunk_chars=len(text))
    assert row["messages"] == [{"role": "text", "content": text}]
    assert told("b.csv", CSV + "Warum?,Größe".encode("latin-1"), encoding="latin-1") == [(2, "Größe")]


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("utf-99", "no encoding 'utf-99'"), ("base64", "no encoding"), ("utf-16", "utf-16-le or utf-16-be")],
    ids=["unknown", "of no text", "without a mark"],
)
def test_an_encoding_that_cannot_be_read_stops(encoding, words):
    assert words in stops("a.jsonl", LINE.decode().encode("utf-16-le"), encoding=encoding)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.parquet", "a.xml", "a.jsonl.gz"])
def test_an_empty_file_stops(name):
    assert "empty" in stops(name, b"")
    if name.endswith(".gz"):
        assert "empty" in stops(name, gzip.compress(b""))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b"\n \n"), ("a.json", b"[]"), ("a.json", b" "), ("a.csv", CSV), ("a.csv", b"\n"),
        ("a.txt", b"\n\n"), ("a.txt", codecs.BOM_UTF8), ("a.parquet", parquet(pyarrow.table({"text": []}))),
    ],
)  # fmt: skip
def test_a_file_without_rows_stops(name, content):
    words = stops(name, content)
    assert "holds no rows" in words or "no header line" in words or ":1: not JSON" in words


def test_json_lines_hold_line_separators_and_empty_lines_and_crlf():
    content = b"\r\n" + LINE.replace(b"Because", "a\u2028b\u2029c\x85".encode()) + b"\r\n\r\n" + OTHER + b"\r\n"
    assert told("a.jsonl", content) == [(2, "a\u2028b\u2029c\x85."), (4, "Because.")]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"[{LINE.decode()}, {OTHER.decode()}]", [1, 2]),  # rows of one line are told apart by number
        (f"\n [\r\n{LINE.decode()}\r\n,\r\n\r\n{OTHER.decode()}\r\n]\r\n", [3, 6]),
        (json.dumps({"version": 1, "data": [GOOD, GOOD]}), [1, 2]),
        (f"{LINE.decode()}\n{OTHER.decode()}\n", [1, 2]),
        (json.dumps(GOOD, indent=2), [1]),
    ],
    ids=["array", "array over lines", "wrapped", "JSON lines", "single object"],
)
def test_each_shape_of_a_json_file_is_read(text, lines):
    assert told("a.json", text.encode()) == [(line, "Because.") for line in lines]


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_one_conversation_alone_in_a_json_file_is_a_row_and_no_table(column):
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    assert told("a.json", json.dumps({column: turns}).encode()) == [(1, "Because.")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[\n{},\n{]\n", 3), ("[\n{}\n{}]", 3), ("[\n{},\n]", 3), ('[\n{"a": "b},\n{"a": "b"}]', 2), ("[\n{}", 2),
        ("[\n{},", 2), ('{"data":\n[{]}', 2), ('\n{"data": 1', 2), ("\n[1", 2), ("question", 1),
    ],
)  # fmt: skip
def test_a_malformed_json_file_stops_and_names_the_line(text, line):
    assert stops("a.json", text.encode()).startswith(f":{line}: ")


def test_an_object_whose_brackets_nest_without_end_stops():
    assert "nest too deep" in stops("a.json", b'{"a":' * 9999)


def test_what_follows_an_array_stops():
    assert "follows" in stops("a.json", b"[" + LINE + b"] " + LINE)


def test_a_fault_in_a_wrapped_table_stops_with_its_name():
    assert "duplicate_keys" in stops("a.json", b'{"data": [{"a": 1, "a": 2}]}')


def test_a_json_file_that_is_too_large_to_be_read_as_a_whole_stops(monkeypatch):
    monkeypatch.setattr(json_rows, "MAX_JSON", len(LINE))
    assert told("a.json", LINE) == [(1, "Because.")]
    assert "JSON lines" in stops("a.json", LINE + b"\n")


CSV_ROWS = {
    "too short": (b"Why?", "row_too_short"),
    "too long": (b"Why?,Because.,more", "row_too_long"),
    "NUL": (b"W\0y?,Because.", "nul"),
    "invalid UTF-8": (b"W\xffy?,Because.", "invalid_utf8"),
    "empty answer": (b"Why?,", "empty_answer"),
    "NA": (b"Why?,NA", "NA"),
    "null": (b"Why?,null", "null"),
    "number": (b"Why?,007", "007"),
    "quotes": (b'"He said ""why?"", twice","a, b"', "a, b"),
    "line separator": ("Why?,a\u2028b".encode(), "a\u2028b"),
}


@pytest.mark.parametrize(("row", "expected"), CSV_ROWS.values(), ids=CSV_ROWS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_each_row_of_a_table_is_read_or_set_aside(row, expected, end):
    content = end.join([CSV.strip(), b"Why?,Because.", row, b"How?,Because.", b""])
    assert told("a.csv", content) == [(2, "Because."), (3, expected), (4, "Because.")]


def test_a_cell_holds_newlines_and_the_lines_after_it_are_counted_on():
    content = CSV + b'"Why,\n\nthen?","a\r\nb"\n\nHow?,Because.\n'
    assert told("a.csv", content) == [(2, "a\r\nb"), (7, "Because.")]


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ";"), ("a.csv", "|"), ("a.txt.csv", "\t")])
def test_each_delimiter_is_read_once_it_is_named(name, delimiter):
    content = CSV.replace(b",", delimiter.encode()) + f"Why?{delimiter}Because, of course.".encode()
    if name != "a.tsv":
        assert f"`delimiter: {delimiter!r}`" in stops(name, content)
    assert told(name, content, delimiter=delimiter) == [(2, "Because, of course.")]


@pytest.mark.parametrize("delimiter", ["\\t", "", "||"])
def test_a_delimiter_that_is_none_stops(delimiter):
    source = Source("data/raw/a.csv", delimiter=delimiter)
    Path("data/raw/a.csv").write_bytes(CSV + b"Why?,Because.")
    if delimiter:
        with pytest.raises(Stop, match="is no delimiter"):
            list(read_source("mine", source))
    else:
        assert len(list(read_source("mine", source))) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"question,answer,question\nWhy?,Because.,\n", ":1: the column 'question' is there twice"),
        ("frage,größe\n".encode("latin-1"), ":1: the header is not UTF-8; add `encoding:"),
        (b"\nquestion,answer\n", "has no header line"),
    ],
    ids=["column twice", "latin-1", "blank"],
)
def test_a_bad_header_stops(content, words):
    assert words in stops("a.csv", content)


@pytest.mark.parametrize(
    "after",
    [b"", b"\n" + b"How?,Because.\n" * 500, b'\nHow?,"Because, of course."\n', b'\n"How?",Because.\n', b'" x\n'],
    ids=["end of file", "many lines", "another quoted cell", "a quoted cell first", "text after the quotes"],
)
def test_an_unclosed_quote_stops_and_names_the_line_that_opens_it(after):
    content = CSV + b'Why?,"a\nb"\nWhy?,"Because.' + after
    assert stops("a.csv", content).startswith(":4: the row that starts here is no CSV")


def test_parquet_is_read_with_its_lists_and_nulls():
    messages = [[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}], None]
    assert told("a.parquet", parquet(pyarrow.table({"messages": messages}))) == [(1, "Because."), (2, "no_messages")]


def test_nul_in_parquet_is_set_aside():
    table = pyarrow.table({"question": ["Why?", "W\0y?"], "answer": ["Because."] * 2})
    assert told("a.parquet", parquet(table)) == [(1, "Because."), (2, "nul")]


def test_a_column_that_is_twice_in_parquet_stops():
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["text", "text"])
    assert "the column 'text' is there twice" in stops("a.parquet", parquet(table))


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b[:-9], lambda b: b"x" * 99, lambda b: b[:4] + b[9:]])
def test_damaged_parquet_stops(damage):
    content = parquet(pyarrow.table({"text": [f"text {n}" for n in range(99)]}))
    assert "damaged Parquet" in stops("a.parquet", damage(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<a", "not XML"), (b'<?xml version="1.0" encoding="utf-7"?><a/>', "not XML"),
        (b'<?xml version="1.0" encoding="nowhere"?><a/>', "not XML"), (b"<a/>", "no weakness"),
    ],
)  # fmt: skip
def test_xml_that_is_no_catalogue_stops(content, words):
    assert words in stops("a.xml", content)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.csv", "a.txt", "a.md", "a.parquet"])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gz", "zst"])
def test_each_form_is_read_when_compressed(name, pack):
    suffix = name[name.index(".") :]
    plain = {
        **FILES,
        "a.ndjson": LINE,
        "a.md": b"Because.",
        "a.parquet": parquet(pyarrow.table({"text": ["Because."]})),
    }
    packing = ".gz" if pack is gzip.compress else ".zst"
    [row] = read_file(f"🎉 a b{suffix}{packing}", pack(plain[name]))
    assert row["messages"][-1]["content"] == "Because."
    assert row["file"] == f"data/raw/🎉 a b{suffix}{packing}"


def test_the_minority_of_a_mixed_file_is_set_aside_in_any_place():
    other = b'{"instruction": "Why?", "response": "Because."}'
    assert [reason for _, reason in told("a.jsonl", b"\n".join([other, LINE, OTHER, other, LINE]))] == [
        "other_format", "Because.", "Because.", "other_format", "Because.",
    ]  # fmt: skip


def test_a_good_row_after_more_bad_ones_than_decide_on_the_format_is_kept(monkeypatch):
    monkeypatch.setattr(reading, "PROBED", 2)
    assert told("a.jsonl", b"{\n{\n{\n" + LINE)[-1] == (4, "Because.")


def test_columns_of_no_known_format_stop_with_what_to_do():
    words = stops("a.csv", b"frage,antwort\nWarum?,Darum.\n")
    assert "antwort, frage" in words and "`columns:`" in words


def pieces(text: str, chunk_chars: int, name: str = "a.txt") -> list[tuple[int, str]]:
    return told(name, text.encode(), chunk_chars=chunk_chars)


def test_a_text_is_cut_between_paragraphs_into_pieces_of_the_size():
    text = "One.\nStill one.\n\n\nTwo.\r\n \r\nThree."
    assert pieces(text, 999) == [(1, "One.\nStill one.\n\nTwo.\n\nThree.")]
    assert pieces(text, 21) == [(1, "One.\nStill one.\n\nTwo."), (7, "Three.")]
    assert pieces(text, 20) == [(1, "One.\nStill one."), (5, "Two.\n\nThree.")]
    assert pieces(text, 11) == [(1, "One."), (1, "Still one."), (5, "Two."), (7, "Three.")]


def test_the_pieces_of_a_text_are_one_group_and_another_text_is_another():
    Path("data/raw/a.txt").write_text("One.\n\nTwo.")
    Path("data/raw/b.md").write_text("One.")
    found = list(read_source("mine", Source("data/raw", chunk_chars=6)))
    assert [row["group"] for row in found] == ["data/raw/a.txt"] * 2 + ["data/raw/b.md"]
    assert {row["task"] for row in found} == {"text"}


@pytest.mark.parametrize(("bad", "reason"), [(b"\0", "nul"), (b"\xff", "invalid_utf8")])
def test_a_bad_piece_of_a_text_is_set_aside(bad, reason):
    content = b"One.\n\nTwo" + bad + b".\n\nThree."
    assert told("a.txt", content, chunk_chars=6) == [(1, "One."), (3, reason), (5, "Three.")]


# ---- whatever the file, no row is lost ----

scrap = st.sampled_from([
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\\u0000", b"\\ud800",
    b"NaN", b"1e999", b"question,answer\n", b"<a>", b"a", b" ", b";", b"text", LINE,
])  # fmt: skip
hostile = st.one_of(st.binary(min_size=1, max_size=99), st.lists(scrap, min_size=1, max_size=20).map(b"".join))
content_of_any_kind = st.one_of(st.text(max_size=5), st.none(), st.integers(), st.lists(st.integers(), max_size=1))
message = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["system", "user", "assistant", "tool", "x", None]),
        "content": content_of_any_kind,
        "tool_calls": st.none() | st.just([1]),
    },
)
conversation = st.lists(message | st.none() | st.text(max_size=2), max_size=5)
CHECKED = settings(derandomize=True, deadline=None, max_examples=150)


def of_bytes(suffix: str, content: bytes) -> RawFile:
    return RawFile(f"data/raw/a{suffix}", suffix, len(content), lambda: io.BytesIO(content))


def outcome(suffix: str, content: bytes) -> list[dict] | None:
    """What a file becomes, None if it stops; each row is a record or set aside, and can be written and read again."""
    file, seen = of_bytes(suffix, content), []
    try:
        found = list(reading.read_file_records("mine", Source("a"), file, seen.append))
        expected = list(reading.read_rows(file, None, None, 1200, seen.append))
    except Stop as stop:
        assert str(stop).startswith(file.name)
        return None
    assert [row["line"] for row in found] == [row.line for row in expected]
    for row in found:
        assert json.loads(format_json_line(row)) == row
        assert ("status" in row) != ("messages" in row)
    return found


@CHECKED
@given(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", ".xml", ".parquet"]), hostile)
def test_any_bytes_stop_or_every_row_is_accounted_for(suffix, content):
    outcome(suffix, content)


@CHECKED
@given(st.lists(hostile.map(lambda line: line.replace(b"\n", b"")), max_size=5), st.integers(0, 5), st.booleans())
def test_a_good_line_among_bad_ones_survives(bad, place, crlf):
    lines = [line for line in bad if line.removeprefix(codecs.BOM_UTF8).strip()]  # with the mark alone, one is blank
    lines.insert(min(place, len(lines)), LINE)
    content = (b"\r\n" if crlf else b"\n").join(lines)
    found = outcome(".jsonl", content)
    if found is None:  # the whole file is in another encoding, by its mark or its zero bytes
        assert content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or content[:64].count(0) > 4
    else:
        assert len(found) == len(lines)
        assert "messages" in found[lines.index(LINE)]


@CHECKED
@given(st.lists(conversation, min_size=1, max_size=5))
def test_any_messages_are_a_record_or_set_aside(conversations):
    lines = [json.dumps({"messages": messages}).encode() for messages in conversations]
    found = outcome(".jsonl", b"\n".join(lines))
    assert len(found) == len(conversations)
    for row, messages in zip(found, conversations):
        if "messages" in row:
            assert row["messages"] == [{"role": m["role"], "content": m["content"]} for m in messages]


@CHECKED
@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), min_size=1, max_size=5))
def test_any_cells_come_out_of_a_table_as_they_went_in(cells):
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("question", "answer"), *cells])
    found = outcome(".csv", out.getvalue().encode(errors="surrogatepass"))
    assert len(found) == len(cells)
    for row, (asked, said) in zip(found, cells):
        if "messages" in row:
            assert [message["content"] for message in row["messages"]] == [asked.strip(), said.strip()]
        else:
            assert "\0" in asked + said or not asked.strip() or not said.strip() or not (asked + said).isascii()
