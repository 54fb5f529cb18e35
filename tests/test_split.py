"""Splitting: by group, by hash, so that nothing leaks and nothing moves."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from stages import split as module
from stages.lib.errors import Stop
from stages.lib.schema import Schema
from stages.split import SPLITS, check, count, fraction, sample, split, split_of

NO_LIMITS = dict.fromkeys(SPLITS)
TASKS = ("explain", "mitigate", "detect")


def row(group: int | str, number: int = 0, task: str = "explain", response: str | None = None) -> dict:
    key = f"CWE-{group}"
    return {"id": f"{key}-{number}", "group": key, "task": task, "response": response or f"{key} answer {number}"}


ROWS = [row(group, number, TASKS[number % 3]) for group in range(100) for number in range(3)]
GOLDEN = {"CWE-3", "CWE-5"}


def split_rows(rows=ROWS, golden=GOLDEN, seed=0, limits=NO_LIMITS):
    return split(rows, golden, seed, val_ratio=0.2, test_ratio=0.2, limits=limits)


def homes(members: dict[str, list[dict]]) -> dict[str, str]:
    """The split of each row, by id."""
    return {row["id"]: name for name, rows in members.items() for row in rows}


def test_every_row_is_in_one_split_and_no_group_in_two():
    members, left_out = split_rows()
    assert left_out == []
    assert sorted(homes(members)) == sorted(row["id"] for row in ROWS)
    groups = [group for rows in members.values() for group in {row["group"] for row in rows}]
    assert len(groups) == len(set(groups)) == 100
    check(len(ROWS), members, left_out)


def test_the_shares_are_about_the_ratios():
    names = Counter(split_of(f"CWE-{n}", set(), 0, 0.05, 0.1) for n in range(5000))
    assert 200 < names["val"] < 300
    assert 430 < names["test"] < 570
    assert names["train"] == 5000 - names["val"] - names["test"]


def test_golden_groups_go_to_golden_and_nothing_else_does():
    members, _ = split_rows()
    assert {row["group"] for row in members["golden"]} == GOLDEN


def test_another_choice_of_golden_groups_moves_no_other_group():
    before, after = homes(split_rows()[0]), homes(split_rows(golden=GOLDEN | {"CWE-9"})[0])
    assert {key.rpartition("-")[0] for key in before if before[key] != after[key]} == {"CWE-9"}


@pytest.mark.parametrize("new", [row(7, 99), row("brand-new")], ids=["row", "group"])
def test_something_new_moves_no_other_row(new):
    before, after = homes(split_rows()[0]), homes(split_rows([new, *ROWS])[0])
    assert after.pop(new["id"]) in SPLITS
    assert after == before


def test_the_order_of_the_rows_does_not_matter():
    assert split_rows(ROWS[::-1]) == split_rows()


def test_another_seed_gives_other_splits():
    assert homes(split_rows(seed=1)[0]) != homes(split_rows()[0])


def test_a_fraction_is_spread_over_the_unit_interval():
    places = [fraction(0, str(n)) for n in range(1000)]
    assert all(0 <= place < 1 for place in places)
    assert all(60 < sum(low <= 10 * place < low + 1 for place in places) < 140 for low in range(10))


def test_a_limit_is_spread_evenly_over_the_tasks():
    rows = [row(n, task="mitigate") for n in range(50)] + [row(n, 1, "detect") for n in range(9)] + [row(0, 2)]
    taken, rest = sample(rows, 11, seed=0)
    assert Counter(row["task"] for row in taken) == {"mitigate": 5, "detect": 5, "explain": 1}
    assert {row["id"] for row in taken} | {row["id"] for row in rest} == {row["id"] for row in rows}
    assert len(taken) + len(rest) == len(rows)


def test_a_new_row_displaces_at_most_one_of_a_sample():
    before = {row["id"] for row in sample(ROWS, 20, seed=0)[0]}
    for number in range(30):
        after = {row["id"] for row in sample([*ROWS, row("new", number)], 20, seed=0)[0]}
        assert len(before - after) <= 1


def test_a_larger_limit_only_adds_rows():
    small, large = ({row["id"] for row in sample(ROWS, limit, seed=0)[0]} for limit in (20, 40))
    assert small < large


@pytest.mark.parametrize("limit", [None, 300, 1000])
def test_a_limit_above_the_rows_takes_all(limit):
    taken, rest = sample(ROWS, limit, seed=0)
    assert (len(taken), rest) == (300, [])


def test_what_is_above_a_limit_is_left_out_with_its_reason():
    limits = {"train": 10, "val": 4, "test": 5, "golden": 1}
    members, left_out = split_rows(limits=limits)
    assert {name: len(rows) for name, rows in members.items()} == limits
    assert {row["reason"] for row in left_out} == {f"max_{name}_samples" for name in SPLITS}
    check(len(ROWS), members, left_out)


@pytest.mark.parametrize("held_out", ["val", "test", "golden"])
def test_an_answer_of_another_split_is_held_out_of_train(held_out):
    members, _ = split_rows()
    answer, moved = members[held_out][0]["response"], members["train"][0]["id"]
    rows = [{**row, "response": answer} if row["id"] == moved else row for row in ROWS]
    members, left_out = split_rows(rows)
    assert [(row["id"], row["reason"]) for row in left_out] == [(moved, "answer_held_out")]
    assert answer not in {row["response"] for row in members["train"]}
    assert answer in {row["response"] for row in members[held_out]}
    check(len(rows), members, left_out)


def test_an_answer_that_train_repeats_stays():
    rows = [{**row, "response": "the same"} if row["group"] in GROUPS_OF_TRAIN else row for row in ROWS]
    assert split_rows(rows)[1] == []


GROUPS_OF_TRAIN = {row["group"] for row in split_rows()[0]["train"]}


def whole() -> dict[str, list[dict]]:
    """Four splits without a fault."""
    return {name: [row(number)] for number, name in enumerate(SPLITS)}


def test_splits_without_a_fault_pass():
    check(4, whole(), [])


@pytest.mark.parametrize("rows_in", [3, 5])
def test_a_lost_or_invented_row_stops(rows_in):
    with pytest.raises(Stop, match=f"{rows_in} rows came in"):
        check(rows_in, whole(), [])


@pytest.mark.parametrize("name", SPLITS)
def test_an_empty_split_stops(name):
    with pytest.raises(Stop, match=f"the {name} split is empty") as stopped:
        check(3, whole() | {name: []}, [])
    assert set(re.findall(r"\w+_(?:ratio|table)", str(stopped.value))) <= Schema.model_fields.keys()


def test_a_group_in_two_splits_stops():
    with pytest.raises(Stop, match="group CWE-0 is in train and val"):
        check(4, whole() | {"val": [row(0, 1)]}, [])


@pytest.mark.parametrize("name", ["val", "test", "golden"])
def test_an_answer_that_stands_in_train_too_stops(name):
    with pytest.raises(Stop, match=r"the answer of CWE-9-0 stands in train too \(CWE-0-0\)"):
        check(4, whole() | {name: [row(9, response=row(0)["response"])]}, [])


def test_the_figures_account_for_rows_groups_tasks_and_reasons():
    members = whole() | {"train": [row(0), row(0, 1, "detect")]}
    figures = count(members, [{**row(8), "reason": "answer_held_out"}])
    assert figures["split_train_rows"] == 2
    assert figures["split_train_groups"] == 1
    assert (figures["split_train_explain"], figures["split_train_detect"]) == (1, 1)
    assert figures["split_left_out_answer_held_out"] == 1


PARAMS = {"split_seed": 0, "val_ratio": 0.2, "test_ratio": 0.2} | {f"max_{name}_samples": None for name in SPLITS}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on ROWS with these golden groups."""
    monkeypatch.chdir(tmp_path)
    deps = ["data/clean/records.jsonl", "data/raw/golden_groups.json"]
    Path("dvc.yaml").write_text(json.dumps({"stages": {"split": {"cmd": "x", "deps": deps, "params": [*PARAMS]}}}))
    Path("data/clean").mkdir(parents=True)
    Path("data/raw").mkdir()
    Path(deps[0]).write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def run(golden: list[str], **params) -> dict:
        Path("params.yaml").write_text(json.dumps(PARAMS | params))
        Path(deps[1]).write_text(json.dumps(golden))
        module.main()
        return json.loads(Path("metrics/split.json").read_text())

    return run


def test_the_stage_writes_every_row_to_one_file(run):
    figures = run(sorted(GOLDEN), max_train_samples=6)
    written = {name: Path(f"data/split/{name}.jsonl").read_text().splitlines() for name in (*SPLITS, "left_out")}
    assert {json.loads(line)["id"] for lines in written.values() for line in lines} == {row["id"] for row in ROWS}
    assert figures["split_train_rows"] == len(written["train"]) == 6
    assert figures["split_left_out_max_train_samples"] == len(written["left_out"])


@pytest.mark.parametrize(
    ("golden", "params", "words"),
    [
        (["CWE-unknown"], {}, "the golden split is empty"),
        (["CWE-3"], {"val_ratio": 1e-9}, "the val split is empty"),
        (["CWE-3"], {"test_ratio": 1e-9}, "the test split is empty"),
    ],
)
def test_the_stage_stops_at_an_empty_split_and_writes_nothing(run, golden, params, words):
    with pytest.raises(SystemExit, match=words):
        run(golden, **params)
    assert not Path("data/split").exists()
