"""One table in every file and every type that pandas and Arrow make of it: the same records, groups and splits."""

import json
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelock.reading.reading import read_source
from tunelock.reading.shape import Source
from tunelock.splitting.division import GoldenParams, RatioParams, divide_rows
from tunelock.splitting.features import GROUP, read_features

COLUMNS = {"instruction": "{q}", "response": "{a}"}
TEXTS = st.text("abc äé,\"'\n;|", min_size=1, max_size=12).filter(lambda text: text.strip() == text)


class Kind(NamedTuple):
    """Values of one column, and each type in which pandas and Arrow have them."""

    values: st.SearchStrategy
    pandas: list[str]
    arrow: list[pa.DataType]


KINDS = {
    "whole numbers": Kind(
        st.integers(-(2**20), 2**20),
        ["object", "int64", "float64", "Int64", "category", "int64[pyarrow]", "string"],
        [pa.int64(), pa.int32(), pa.float64(), pa.float32(), pa.decimal128(12, 2), pa.string(), pa.large_string(),
         pa.dictionary(pa.int32(), pa.int64()), pa.dictionary(pa.int32(), pa.string())],
    ),
    "numbers": Kind(
        st.integers(-999, 999).map(lambda number: number + 0.5),
        ["float64", "Float64", "category", "object", "string"],
        [pa.float64(), pa.float32(), pa.string(), pa.dictionary(pa.int8(), pa.float64())],
    ),
    "truth values": Kind(
        st.booleans(), ["bool", "boolean", "category", "object", "bool[pyarrow]", "string"],
        [pa.bool_(), pa.string()],
    ),
    "texts": Kind(
        TEXTS, ["object", "string", "category", "string[pyarrow]"],
        [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int16(), pa.string()), pa.string_view()],
    ),
    "dates": Kind(
        st.dates(date(1990, 1, 1), date(2040, 1, 1)), ["object", "datetime64[ns]", "datetime64[s]", "category"],
        [pa.date32(), pa.date64(), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("s"), pa.string()],
    ),
    "moments": Kind(
        st.datetimes(datetime(1990, 1, 1, 1), datetime(2040, 1, 1)).map(lambda time: time.replace(microsecond=500000)),
        ["datetime64[us]", "datetime64[ns]"], [pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ms")],
    ),
    "decimals": Kind(
        st.decimals(-999, 999, places=2).filter(lambda number: number % 1 != 0 and number * 10 % 1 != 0),
        ["object", "category"], [pa.decimal128(9, 2), pa.decimal256(40, 2), pa.string()],
    ),
}  # fmt: skip


def write_by_pandas(frame: pd.DataFrame) -> list[str]:
    """Write a table in each file that pandas knows."""
    frame.to_csv("data/raw/p.csv", index=False)
    frame.to_csv("data/raw/p.tsv", sep="\t", index=False)
    frame.to_json("data/raw/p.json", orient="records", date_format="iso", double_precision=15)
    frame.to_json("data/raw/p.jsonl", orient="records", lines=True, date_format="iso", double_precision=15)
    frame.to_parquet("data/raw/p.parquet")
    with open("data/raw/q.jsonl", "w") as file:  # by hand, with Python's own idea of what a hole is: NaN
        file.writelines(json.dumps(row, default=str) + "\n" for row in frame.to_dict("records"))
    return [f"data/raw/{name}" for name in ("p.csv", "p.tsv", "p.json", "p.jsonl", "p.parquet", "q.jsonl")]


def read(path: str, **source: object) -> list[tuple]:
    """What a file becomes, whatever its name: the records, and the reasons of the rows that are set aside."""
    found = []
    for row in read_source("mine", Source(path, **source)):
        found.append(row["reason"] if "status" in row else (row["id"], row["task"], row["group"], row["messages"]))
    return found


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    (tmp_path / "data/raw").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def as_frame(table: dict[str, list], kind: str) -> pd.DataFrame:
    """The table with its column of keys in one type of pandas; with a hole whole numbers become floats there."""
    frame = pd.DataFrame({name: pd.Series(values, dtype="object") for name, values in table.items()})
    if kind == "string":
        holes = frame["k"].isna()
        frame["k"] = frame["k"].map(str).astype("string").mask(holes)
    else:
        with_hole = {"int64": "float64", "bool": "object"}
        frame["k"] = frame["k"].astype(with_hole.get(kind, kind) if frame["k"].isna().any() else kind)
    return frame


def as_arrow(table: dict[str, list], kind: pa.DataType) -> pa.Table:
    keys = table["k"]
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if plain in (pa.string(), pa.large_string(), pa.binary(), pa.string_view()):
        keys = [None if key is None else str(key) for key in keys]
    if pa.types.is_decimal(plain):
        keys = [None if key is None else Decimal(key) for key in keys]
    with_dates = any(isinstance(key, date) for key in keys)
    array = pa.array(keys).cast(plain) if with_dates else pa.array(keys, plain)
    columns = {**table, "k": array.dictionary_encode() if plain != kind else array}
    return pa.table(columns)


def read_all(table: dict[str, list], kind: Kind, **source: object) -> dict[str, list[tuple]]:
    """What each file of each type of the table becomes, by type and file."""
    results = {}
    for dtype in kind.pandas:
        for path in write_by_pandas(as_frame(table, dtype)):
            results[f"{dtype} {path}"] = read(path, **source)
    for dtype in kind.arrow:
        pyarrow.parquet.write_table(as_arrow(table, dtype), "data/raw/a.parquet")
        results[f"{dtype} data/raw/a.parquet"] = read("data/raw/a.parquet", **source)
    return results


def make_table(keys: list) -> dict[str, list]:
    numbers = range(len(keys))
    return {"q": [f"Question {n}?" for n in numbers], "a": [f"Answer {n}, äé." for n in numbers], "k": keys}


quickly = settings(
    max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", KINDS)
@quickly
@given(data=st.data())
def test_a_table_is_the_same_records_in_the_same_groups_whatever_its_file_and_types(name, data):
    keys = data.draw(st.lists(KINDS[name].values, min_size=2, max_size=6))
    results = read_all(make_table(keys), KINDS[name], columns=COLUMNS, task="{k}", group="{k}")
    first = next(iter(results.values()))
    assert {(task, group) for _, task, group, _ in first} == {(task, task) for _, task, _, _ in first}
    assert len({task for _, task, _, _ in first}) == len({" ".join(str(key).split()) for key in keys})
    assert {file: rows for file, rows in results.items() if rows != first} == {}


@pytest.mark.parametrize("name", KINDS)
@quickly
@given(data=st.data())
def test_a_hole_is_a_hole_whatever_the_file_and_the_type(name, data):
    keys = [None, *data.draw(st.lists(st.none() | KINDS[name].values, min_size=1, max_size=4))]
    results = read_all(make_table(keys), KINDS[name], columns=COLUMNS, task="{k}")
    first = next(iter(results.values()))
    assert [row == "missing_task 'k'" for row in first] == [key is None for key in keys]
    assert {file: rows for file, rows in results.items() if rows != first} == {}


@pytest.mark.parametrize("name", ["whole numbers", "numbers", "texts", "dates"])
@quickly
@given(data=st.data())
def test_a_value_in_an_answer_is_the_same_text_by_columns_and_by_format(name, data):
    keys = data.draw(st.lists(KINDS[name].values, min_size=2, max_size=4))
    kind = KINDS[name]._replace(pandas=[dtype for dtype in KINDS[name].pandas if dtype != "category"])
    table = make_table(keys)
    table |= {"instruction": table.pop("q"), "response": table.pop("a")}
    by_columns = read_all(table, kind, columns={"instruction": "{instruction}", "response": "{k}"})
    first = next(iter(by_columns.values()))
    rename = {"k": "response", "response": "k"}
    for path in write_by_pandas(as_frame(table, kind.pandas[0]).rename(columns=rename)):
        by_columns[path] = read(path, ignore_columns=["k"])
    plain = by_columns  # JSON has no dates: there a date is the text that pandas writes
    if name == "dates":
        plain = {file: rows for file, rows in by_columns.items() if not file.endswith(("json", "jsonl"))}
    assert {file: rows for file, rows in plain.items() if rows != first} == {}


def test_a_text_that_ends_like_a_whole_number_stays_where_its_column_has_others():
    Path("data/raw/a.csv").write_text("q,a,year\nQ1?,3.0,2019.0\nQ2?,3.1,\nQ3?,3.10,2020.0\n")
    found = read("data/raw/a.csv", columns={"instruction": "{q} {year}", "response": "{a}"})
    said = [[message["content"] for message in messages] for _, _, _, messages in found]
    assert said == [["Q1? 2019", "3.0"], ["Q2?", "3.1"], ["Q3? 2020", "3.10"]]


NUMBERS = {"a.jsonl": '{"q": "2+2?", "a": 4.0}\n', "b.json": '[{"q": "2+2?", "a": 4}]', "c.csv": "q,a\n2+2?,4\n"}


@pytest.mark.parametrize("answer", ["a", "answer"])
def test_a_number_is_an_answer_by_columns_and_by_format(answer):
    for name, content in NUMBERS.items():
        Path("data/raw", name).write_text(content.replace('"a"', f'"{answer}"').replace("q,a", f"q,{answer}"))
        if answer == "answer":
            Path("data/raw", name).write_text(Path("data/raw", name).read_text().replace("q", "question", 1))
    mapped = {} if answer == "answer" else {"columns": COLUMNS}
    found = [read(f"data/raw/{name}", **mapped) for name in NUMBERS]
    assert found[0] == found[1] == found[2] and found[0][0][3][1]["content"] == "4"


CUSTOMERS = [12, 7, 30, 45, 60, 61]


def test_one_customer_is_one_group_of_the_splits_whatever_the_file_and_the_case(tmp_path):
    """Ids as a CSV and as floats of a Parquet file; names in two cases, two forms of Unicode, with other blanks."""
    rows = [{"q": f"Question {n}?", "a": f"Answer {n}.", "k": n} for n in CUSTOMERS]
    pd.DataFrame(rows).to_csv("data/raw/a.csv", index=False)
    pd.DataFrame(rows).astype({"k": "float64"}).to_parquet("data/raw/b.parquet")
    names = ["Müller & Co", unicodedata.normalize("NFD", "MÜLLER & Co"), "Müller  &\u00a0Co"]
    pd.DataFrame({"q": names, "a": names, "k": names}).to_json("data/raw/c.json", orient="records")
    records = list(read_source("mine", Source("data/raw", columns=COLUMNS, group="{k}", ignore_columns=["k"])))
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    known = read_features(tmp_path / "records.jsonl", tmp_path / "features", {}, 13)
    assert len(records) == 2 * len(CUSTOMERS) + 3
    assert len(np.unique(known.hashes[:, GROUP])) == len(CUSTOMERS) + 1
    split = divide_rows(known, RatioParams(0, "hash", 0.3, 0.3), GoldenParams(None, None, 0.2), 0.9, set()).split
    for group in np.unique(known.hashes[:, GROUP]):
        assert len(np.unique(split[known.hashes[:, GROUP] == group])) == 1
