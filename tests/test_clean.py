"""Cleaning: every row is kept or dropped with a reason, whatever the order they come in."""

import json
from itertools import permutations
from pathlib import Path

import pytest

from stages import clean as module
from stages.clean import REASONS, clean, count
from stages.lib.errors import Stop


def record(**changes) -> dict:
    return {"id": "a", "instruction": "Why?", "context": "", "response": "Because.", "deprecated": False, **changes}


def reason_for(**changes) -> str | None:
    kept, dropped = clean([record(**changes)], min_chars=3, max_chars=10)
    assert len(kept) + len(dropped) == 1
    return dropped[0]["reason"] if dropped else None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"deprecated": True}, "deprecated"),
        ({"instruction": ""}, "empty"),
        ({"instruction": " \n\u00a0"}, "empty"),
        ({"response": ""}, "empty"),
        ({"response": "bad\ufffd"}, "bad_encoding"),
        ({"context": "nul\0"}, "bad_encoding"),
        ({"instruction": "half \ud83d"}, "bad_encoding"),
        ({"response": "bell\x07"}, "bad_encoding"),
        ({"response": "next\x85"}, "bad_encoding"),
        ({"response": "12"}, "too_short"),
        ({"response": "12345678901"}, "too_long"),
    ],
)
def test_a_row_that_is_unfit_is_dropped_with_its_reason(changes, reason):
    assert reason_for(**changes) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"response": "123"},
        {"response": "1234567890"},
        {"response": "a\tb\r\nc"},
        {"response": "😀" * 10},
        {"response": "null"},
        {"response": "a\u2028b"},
        {"context": "x" * 99},
    ],
    ids=["shortest", "longest", "tab and newline", "emoji", "null as text", "line separator", "long context"],
)
def test_a_row_that_is_fit_is_kept_unchanged(changes):
    kept, dropped = clean([record(**changes)], min_chars=3, max_chars=10)
    assert dropped == []
    assert kept == [{key: value for key, value in record(**changes).items() if key != "deprecated"}]


@pytest.mark.parametrize(
    "twin", ["Because.", "BECAUSE.", " Because.\n", "Ｂecause."], ids=["same", "case", "space", "wide letter"]
)
def test_of_duplicates_the_smallest_id_stays_whatever_their_order(twin):
    rows = [record(id="b"), record(id="a", response=twin), record(id="c"), record(id="d", response="Another.")]
    for order in permutations(rows):
        kept, dropped = clean(list(order), 3, 10)
        assert [row["id"] for row in kept] == ["a", "d"]
        assert [(row["id"], row["reason"]) for row in dropped] == [("b", "duplicate"), ("c", "duplicate")]


@pytest.mark.parametrize("key", ["instruction", "context", "response"])
def test_rows_that_differ_in_one_text_are_no_duplicates(key):
    kept, _ = clean([record(), record(id="b", **{key: "Else."})], 3, 10)
    assert len(kept) == 2


def test_a_dropped_row_takes_no_twin_with_it():
    kept, dropped = clean([record(id="a", deprecated=True), record(id="b")], 3, 10)
    assert [row["id"] for row in kept] == ["b"]
    assert [row["reason"] for row in dropped] == ["deprecated"]


def test_the_figures_account_for_every_row():
    rows = [record(), record(id="b"), record(id="c", response="x"), record(id="d", deprecated=True)]
    figures = count(len(rows), *clean(rows, 3, 10))
    assert figures["clean_rows_in"] == 4 == figures["clean_rows_kept"] + figures["clean_rows_dropped"]
    reasons = {reason: figures[f"clean_dropped_{reason}"] for reason in REASONS}
    assert reasons == dict.fromkeys(REASONS, 0) | {"duplicate": 1, "too_short": 1, "deprecated": 1}


def test_a_row_that_is_lost_or_invented_stops():
    kept, dropped = clean([record()], 3, 10)
    for rows_in in 0, 2:
        with pytest.raises(Stop, match="the sum must match"):
            count(rows_in, kept, dropped)


@pytest.mark.parametrize("rows", [[], [record(response="x")]], ids=["no row came in", "all dropped"])
def test_nothing_left_stops_and_says_where_the_rows_went(rows):
    with pytest.raises(Stop, match=f"no row is left of {len(rows)}: .*loosen the bounds"):
        count(len(rows), *clean(rows, 3, 10))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on these lines of records.jsonl."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("min_response_chars: 3\nmax_response_chars: 10\n")
    entry = {"cmd": "x", "deps": ["data/raw/records.jsonl"], "params": ["min_response_chars", "max_response_chars"]}
    Path("dvc.yaml").write_text(json.dumps({"stages": {"clean": entry}}))

    def run(*lines: str) -> list[list[dict]]:
        Path("data/raw").mkdir(parents=True, exist_ok=True)
        Path("data/raw/records.jsonl").write_text("".join(f"{line}\n" for line in lines))
        module.main()
        files = [Path("data/clean/records.jsonl"), Path("data/clean/dropped.jsonl")]
        return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]

    return run


def test_the_stage_writes_kept_dropped_and_figures(run):
    kept, dropped = run(json.dumps(record()), json.dumps(record(id="b", response="x")))
    assert [row["id"] for row in kept] == ["a"]
    assert [(row["id"], row["reason"]) for row in dropped] == [("b", "too_short")]
    assert json.loads(Path("metrics/clean.json").read_text())["clean_rows_kept"] == 1


def test_the_stage_keeps_a_row_of_half_a_character_among_the_dropped(run):
    _, dropped = run(json.dumps(record()), json.dumps(record(id="b", response="half \ud83d")))
    assert [(row["response"], row["reason"]) for row in dropped] == [("half \ud83d", "bad_encoding")]


def test_the_stage_stops_before_it_writes_when_nothing_is_left(run):
    with pytest.raises(SystemExit, match="clean: no row is left of 1"):
        run(json.dumps(record(deprecated=True)))
    assert not Path("data/clean").exists()


def test_the_stage_names_the_line_that_is_no_json(run):
    with pytest.raises(SystemExit, match=r"records\.jsonl:2: not JSON"):
        run(json.dumps(record()), '{"id": "b"')
