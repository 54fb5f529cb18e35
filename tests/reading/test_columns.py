"""No column vanishes: contexts become part of the question, the others are told, and what answers may need stops."""

import json
import re
from pathlib import Path

import pytest

from stages import ingest
from tunelock.reading.reading import Source, look_at_source, read_source

LONG = "The tenant pays the rent on the first of each month, the landlord repairs the roof within a week: part {n}."
SHAPES = {
    "qa": ("question", "answer"),
    "alpaca": ("instruction", "output"),
    "instruction": ("instruction", "response"),
    "completion": ("prompt", "completion"),
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("dvc.yaml").write_text("stages: {ingest: {cmd: x, params: [sources, max_set_aside_share]}}\n")


def put(rows: list[dict], name: str = "a.jsonl") -> str:
    Path("data/raw", name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"data/raw/{name}"


def ingest_source(path: str, **source) -> None:
    Path("params.yaml").write_text(
        json.dumps({"sources": {"mine": {"path": path, **source}}, "max_set_aside_share": 0})
    )
    ingest.main()


def table(shape: str = "qa", rows: int = 6, **more) -> list[dict]:
    """Rows of a shape; a value of `more` is a function of the row's number, or what stands in each row."""
    asked, said = SHAPES[shape]
    made = []
    for n in range(rows):
        extra = {name: value(n) if callable(value) else value for name, value in more.items()}
        made.append({asked: f"Is clause {n} fair?", **extra, said: f"Yes, number {n} is."})
    return made


def questions(path: str, **source) -> list[str]:
    found = list(read_source("mine", Source(path, **source)))
    assert not [row for row in found if "status" in row]
    return [row["messages"][-2]["content"] for row in found]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["passage", "Passages", "contract", "context_text", "document", "paragraph"])
def test_a_context_stands_before_the_question_whatever_the_shape(shape, name):
    path = put(table(shape, **{name: lambda n: LONG.format(n=n)}))
    asked = [f"{LONG.format(n=n)}\n\nIs clause {n} fair?" for n in range(6)]
    assert questions(path) == questions(path, format=shape) == asked
    assert look_at_source(Source(path), 9).unused == []
    ingest_source(path)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "alpaca"])
def test_an_input_stands_below_the_question_even_a_number(shape):
    path = put(table(shape, input=lambda n: n))
    assert questions(path) == [f"Is clause {n} fair?\n\n{n}" for n in range(6)]


OPTIONS = {
    "a list": ({"options": ["red", "blue"]}, "- red\n- blue"),
    "a text": ({"choices": "A) red\nB) blue"}, "A) red\nB) blue"),
    "by label": ({"options": {"A": "red", "B": "blue"}}, "A. red\nB. blue"),
    "two lists": ({"choices": {"text": ["red", "blue"], "label": ["A", "B"]}}, "A. red\nB. blue"),
    "objects": ({"choices": [{"key": "A", "value": "red"}, {"key": "B", "value": "blue"}]}, "A. red\nB. blue"),
    "columns": ({"option_a": "red", "option_b": "blue"}, "A. red\nB. blue"),
    "short columns": ({"opa": "red", "opb": "blue"}, "A. red\nB. blue"),
    "letters": ({"A": "red", "B": "blue"}, "A. red\nB. blue"),
    "numbers": ({"choice1": "red", "choice2": 7}, "1. red\n2. 7"),
}


@pytest.mark.parametrize(("columns", "lines"), OPTIONS.values(), ids=OPTIONS)
def test_options_are_the_last_lines_of_the_question(columns, lines):
    path = put(table(passage=lambda n: LONG.format(n=n), **columns))
    assert questions(path)[0] == f"{LONG.format(n=0)}\n\nIs clause 0 fair?\n\n{lines}"


def test_options_without_labels_have_letters_where_the_answer_is_one():
    path = put([{"question": "Which?", "answer": "B", "options": ["red", "blue"]}])
    assert questions(path) == ["Which?\n\nA. red\nB. blue"]


HARMLESS = {
    "id": lambda n: f"row-{n:06}",
    "document": lambda n: f"manual-{n}.pdf",
    "context": lambda n: n,
    "document_id": lambda n: n,
    "date": lambda n: f"2024-01-{n + 1:02} 10:00:00",
    "score": lambda n: n / 7,
    "url": lambda n: f"https://example.org/{'a' * 120}/{n}",
    "hash": lambda n: f"{n:0128x}",
    "category": "Contract law of the cantons and their courts",
    "embedding": lambda n: [n / 7] * 99,
    "meta": lambda n: {"annotator": f"a{n}", "created": "2024-01-01", "checked": True},
    "notice": LONG * 3,
    "text": lambda n: (
        f"### Question: Is clause {n} fair? ### Answer: Yes, number {n} is. And much more text as a template has it."
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_no_answer_depends_on_is_told_with_a_sample_and_stops_nothing(name, capsys):
    path = put(table(**{name: HARMLESS[name]}))
    assert questions(path) == [f"Is clause {n} fair?" for n in range(6)]
    [column] = look_at_source(Source(path), 9).unused
    assert (column.name, column.rows, column.why) == (name, 6, None) and column.sample
    ingest_source(path)
    assert f"'{name}' ({column.sample})" in capsys.readouterr().err
    assert (
        json.loads(Path("data/records/unused_columns.json").read_text())["mine"][0]["column" if 0 else "name"] == name
    )


MAPPED = {"instruction": "{question}", "response": "{answer}"}
NEEDED = {
    "notes": lambda n: LONG.format(n=n),
    "条款": lambda n: f"第{n}条承租人应于每月一日支付租金，出租人应在一周内修理屋顶并承担全部费用。",
    "legal_context": lambda n: f"Under clause {n}.",
    "context": lambda n: {"title": [f"Rent {n}"], "sentences": [[LONG.format(n=n)]]},
    "evidence": lambda n: [LONG.format(n=n), "Short."],
    "facts": lambda n: {"a": {"b": LONG.format(n=n)}},
}


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("more", [{}, {"columns": MAPPED}], ids=["", "columns"])
def test_what_answers_may_depend_on_stops_until_it_is_named(name, more):
    path = put(table(id=HARMLESS["id"], **{name: NEEDED[name]}))
    with pytest.raises(SystemExit, match=rf"'{name}' \(.*`ignore_columns: \[{name}\]`") as stop:
        ingest_source(path, **more)
    assert "'id'" not in str(stop.value)
    ingest_source(path, ignore_columns=[name], **more)
    assert questions(path, ignore_columns=[name], **more)[0] == "Is clause 0 fair?"


def test_columns_may_name_the_context_or_leave_it_to_ignore_columns():
    path = put(table(passage=lambda n: LONG.format(n=n)))
    with pytest.raises(SystemExit, match=re.escape("'passage' (named like a context)")):
        ingest_source(path, columns=MAPPED)
    ingest_source(path, columns={**MAPPED, "context": "{passage}"})
    ingest_source(path, columns=MAPPED, ignore_columns=["passage"])
    assert questions(path, ignore_columns=["passage"]) == [f"Is clause {n} fair?" for n in range(6)]


def test_a_column_that_few_rows_have_stops_nothing():
    path = put([*table(rows=40), *table(rows=1, remark=LONG)])
    ingest_source(path)
    assert [column.name for column in look_at_source(Source(path), 99).unused] == ["remark"]


@pytest.mark.parametrize("key", ["columns", "task", "group"])
def test_a_mistyped_column_is_named_with_those_there_are_and_the_one_that_was_meant(key):
    path = put([{"dialogue": "Hello?", "summary": "A greeting.", "id": n} for n in range(3)])
    columns = {"instruction": "{dialogue}", "response": "{summary}"}
    wrong = {"columns": {**columns, "instruction": "{dialog}"}} if key == "columns" else {key: "{dialog}"}
    asked = "columns.instruction" if key == "columns" else key
    words = f"data/raw/a.jsonl: `{asked}` asks for the column 'dialog', which no row has; did you mean 'dialogue'? "
    with pytest.raises(SystemExit, match=re.escape(f"{words}There are dialogue, id, summary.")):
        ingest_source(path, **{"columns": columns, **wrong})


def test_a_path_reaches_what_stands_in_an_object():
    rows = [
        {"translation": {"de": f"Satz {n}", "en": {"text": f"Sentence {n}"}}, "meta": {"by": f"p{n}"}} for n in range(3)
    ]
    path = put([*rows, {"translation": {"de": "Satz"}, "meta": {"by": "p"}}])
    columns = {"instruction": "{translation.de}", "response": "{translation.en.text}"}
    found = list(read_source("mine", Source(path, columns=columns, group="{meta.by}")))
    assert [row["messages"][1]["content"] for row in found[:3]] == [f"Sentence {n}" for n in range(3)]
    assert [row["group"] for row in found[:3]] == ["p0", "p1", "p2"]
    assert found[3]["reason"] == "missing_column 'translation.en.text'"
    assert json.loads(found[3]["raw"])["translation"] == {"de": "Satz"}
    assert look_at_source(Source(path, columns=columns, ignore_columns=["meta"]), 99).unused == []


def test_a_column_with_a_point_in_its_name_is_itself():
    path = put([{"a": {"b": "not this"}, "a.b": f"Is it {n}?", "said": "Yes, it is."} for n in range(3)])
    assert questions(path, columns={"instruction": "{a.b}", "response": "{said}"}) == [f"Is it {n}?" for n in range(3)]


def test_a_mistyped_path_is_named_with_those_there_are():
    path = put([{"translation": {"de": "Satz", "en": "Sentence"}} for _ in range(3)])
    words = "'translation.eng', which no row has; did you mean 'translation.en'? There are translation.de, t"
    with pytest.raises(SystemExit, match=re.escape(words)):
        ingest_source(path, columns={"instruction": "{translation.de}", "response": "{translation.eng}"})
