"""JSON as people write it is read where it can mean one thing, else named with the way out; no file is lost."""

import json
import re
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from stages import ingest
from tunelock.reading.reading import Source, read_source
from tunelock.run.errors import Stop

ROWS = [{"question": f"Why {n}?", "answer": f"Because, {{of}} [{n}]."} for n in range(3)]
LINES = [json.dumps(row) for row in ROWS]
CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
CELLS = [list(row.values()) for row in ROWS]
COLUMNS = {"question": [row["question"] for row in ROWS], "answer": [row["answer"] for row in ROWS]}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("dvc.yaml").write_text("stages: {ingest: {cmd: x, params: [sources, max_set_aside_share]}}\n")


def put(name: str, content: str | bytes) -> str:
    path = Path("data/raw", name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read_rows(name: str, content: str | bytes, **source) -> list[dict]:
    return list(read_source("mine", Source(put(name, content), **source)))


def ingest_folder(path: str = "data/raw", **source) -> None:
    values = {"sources": {"mine": {"path": path, **source}}, "max_set_aside_share": 0.9}
    Path("params.yaml").write_text(json.dumps(values))
    ingest.main()


READ = {
    "an array": (json.dumps(ROWS), [1, 2, 3]),
    "an array over lines": (json.dumps(ROWS, indent=2), [2, 6, 10]),
    "an array, a row a line": ("[\n" + ",\n".join(LINES) + "\n]\n", [2, 3, 4]),
    "an array, two rows a line": (f"[{LINES[0]}, {LINES[1]},\n{LINES[2]}]", [1, 2, 3]),
    "objects over lines": ("\n".join(json.dumps(row, indent=2) for row in ROWS), [1, 5, 9]),
    "objects over lines with commas": (",\n".join(json.dumps(row, indent=2) for row in ROWS), [1, 5, 9]),
    "commas at the ends of lines": (",\n".join(LINES) + "\n", [1, 2, 3]),
    "a comma at each end": (",\n".join(LINES) + ",\n", [1, 2, 3]),
    "objects on one line": ("".join(LINES), [1, 2, 3]),
    "objects on one line with blanks": (" ".join(LINES), [1, 2, 3]),
    "an object of lists": (json.dumps(COLUMNS), [1, 2, 3]),
    "blank lines first": ("\n\n" + "\n".join(LINES), [3, 4, 5]),
    "by column, as pandas": (json.dumps({k: dict(zip("012", v)) for k, v in COLUMNS.items()}), [1, 2, 3]),
    "by row, as pandas": (json.dumps(dict(zip("012", ROWS))), [1, 2, 3]),
    "columns and data": (json.dumps({"columns": list(ROWS[0]), "data": CELLS}), [1, 2, 3]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "places"), READ.values(), ids=READ)
@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_what_can_mean_one_thing_is_read_and_each_row_has_a_place_of_its_own(name, content, places, end):
    found = read_rows(name, content.replace("\n", end))
    asked = [row.get("messages", [{"content": row.get("reason")}])[0]["content"] for row in found]
    assert asked == [row["question"] for row in ROWS]
    assert [row["line"] for row in found] == places


def test_an_object_of_lists_of_chats_is_a_table_and_a_chat_is_a_row():
    assert len(read_rows("a.json", json.dumps({"messages": [CHAT, CHAT], "id": [1, 2]}))) == 2
    assert len(read_rows("b.json", json.dumps({"messages": CHAT}))) == 1
    assert len(read_rows("c.json", json.dumps({"messages": CHAT, "tags": ["a", "b"]}))) == 1
    assert len(read_rows("d.json", json.dumps({"prompt": CHAT[:1], "completion": CHAT[1:]}))) == 1
    assert len(read_rows("e.jsonl", json.dumps({"messages": CHAT}))) == 1


def test_rows_by_key_keep_the_key():
    by_id = {f"2164{n}": {"QUESTION": f"Why {n}?", "final": "yes"} for n in range(3)}
    mapped = {"instruction": "{QUESTION}", "response": "{final}"}
    found = read_rows("a.json", json.dumps(by_id), columns=mapped, group="{key}")
    assert [row["group"] for row in found] == list(by_id)


def test_one_odd_line_among_good_ones_is_one_row_set_aside():
    for odd in ("[", "]", LINES[0] + LINES[1], LINES[0] + ",", "{", json.dumps(ROWS)):
        found = read_rows("a.jsonl", "\n".join([LINES[0], odd, LINES[1]]))
        assert [row.get("status") for row in found] == [None, "set_aside", None], odd


def test_an_array_that_is_cut_off_sets_its_lines_aside():
    found = read_rows("a.jsonl", "[\n" + ",\n".join(LINES))
    assert [row.get("reason") for row in found] == ["not_json"] * 3 + [None]


NAMED = {
    "single quotes": ("\n".join(map(repr, ROWS)), "json.dumps"),
    "lists of columns": ("\n".join(map(json.dumps, CELLS)), "names its columns"),
    "lists under a header": (json.dumps([list(ROWS[0]), *CELLS]), "names its columns"),
    "a broken array": ("[\n" + ",\n".join(line + "," for line in LINES), "one object a line"),
    "words": ("question: Why?\nanswer: Because.", "one object a line"),
    "batches": ("\n".join([json.dumps(COLUMNS)] * 2), "one object a row"),
}


@pytest.mark.parametrize(("content", "advice"), NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("place", ["file", "folder", "glob", "zip"])
def test_a_file_without_one_record_stops_whatever_its_share_and_shows_its_first_row(content, advice, place):
    put("good.jsonl", "\n".join(json.dumps({"question": f"Who {n}?", "answer": "He."}) for n in range(300)))
    name = "data/raw/lost.jsonl"
    path = {"file": name, "glob": "data/raw/*.jsonl"}.get(place, "data/raw")
    if place == "zip":
        name = "data/raw/z.zip!lost.jsonl"
        with zipfile.ZipFile("data/raw/z.zip", "w") as archive:
            archive.writestr("lost.jsonl", content)
    else:
        put("lost.jsonl", content)
    with pytest.raises(SystemExit) as stop:
        ingest_folder(path)
    words = str(stop.value)
    assert f"{name} has no row that becomes a record of source 'mine'" in words
    assert re.search(rf"The first row set aside is {re.escape(name)}:1 \([^)]+\)", words)
    assert advice in words


def test_single_quotes_in_a_json_file_stop_with_the_way_out():
    for content in (repr(ROWS), repr(ROWS[0])):
        with pytest.raises(Stop, match=r"a\.json:1: not JSON .*json\.dumps"):
            read_rows("a.json", content)


def test_the_share_shows_the_first_row_that_was_set_aside():
    put("a.jsonl", "\n".join([LINES[0], "oops", "oops"]))
    values = {"sources": {"mine": {"path": "data/raw"}}, "max_set_aside_share": 0.1}
    Path("params.yaml").write_text(json.dumps(values))
    with pytest.raises(SystemExit, match=r"2 of 3 rows .*data/raw/a\.jsonl:2 \(not_json\): 'oops'"):
        ingest.main()


# ---- tables ----


@pytest.mark.parametrize("sign", [";", ",", "\t", "|"])
@pytest.mark.parametrize("mark", ["sep={}\n", "sep={}\r\n", '"sep={}"\r\n', "\ufeffsep={}\n"])
def test_the_line_by_which_excel_knows_the_delimiter_is_no_row(sign, mark):
    table = f"question{sign}answer\nWhy?{sign}Because.\n"
    for name in ("a.csv", "a.tsv"):
        [row] = read_rows(name, mark.format(sign) + table)
        assert (row["line"], row["messages"][1]["content"]) == (3, "Because.")
    [row] = read_rows("b.csv", mark.format("#") + table, delimiter=sign)
    assert row["messages"][0]["content"] == "Why?"


def test_a_column_called_sep_is_a_column():
    [row] = read_rows("a.csv", "sep=,question,answer\n1,Why?,Because.\n")
    assert row["messages"][0]["content"] == "Why?"


def test_a_huge_cell_is_told_as_such():
    with pytest.raises(Stop, match=r"a\.csv:3: a cell .* larger than 8 MiB.*cut the text"):
        read_rows("a.csv", 'question,answer\nWhy?,Because.\nWhy?,"' + "x" * (9 * 2**20) + '"\n')


def test_a_layout_of_parquet_that_pyarrow_does_not_read_is_no_damage(monkeypatch):
    pyarrow.parquet.write_table(pyarrow.table({"question": ["Why?"], "answer": ["Because."]}), "data/raw/a.parquet")

    def refuse(*_args, **_kwargs):
        raise pyarrow.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", refuse)
    with pytest.raises(Stop, match=r"layout of Parquet .*Nested data.*row_group_size") as stop:
        list(read_source("mine", Source("data/raw/a.parquet")))
    assert "damaged" not in str(stop.value)
