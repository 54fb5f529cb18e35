"""The pilot says no for each of its reasons, before the first step where it can."""

import json
import math
from pathlib import Path

import pytest

from stages import pilot
from stages.pilot import average_loss, list_objections, object_to_held_out_rows
from tests.conftest import ROOT
from tunelock.answering.scoring import Score
from tunelock.records.record import make_messages, make_record
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.label_check import find_mislabelled
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.rendering.row_lengths import measure_cuts, measure_row_lengths, summarise_row_lengths
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, write_json, write_jsonl, write_text
from tunelock.run.params import Params, load_yaml

WHOLE = Rendering(256)
GOOD = {"too_long": 0, "refused": 0, "rows": 100, "limit": 0.02, "mislabelled": [], "before": 3.0, "after": 2.0}


def test_a_good_pilot_is_a_go():
    assert list_objections(**GOOD) == []
    assert list_objections(**{**GOOD, "too_long": 2}) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"too_long": 3}, "3 of 100 train rows exceed max_length (3.0%, and pilot_max_too_long allows 2.0%)"),
        ({"refused": 3}, "the chat template cannot say 3 of 100 train rows"),
        ({"mislabelled": ["row-1"]}, "labels of row-1"),
        ({"after": math.nan}, "the loss became nan"),
        ({"after": math.inf}, "the loss became inf"),
        ({"after": 3.0}, "the loss did not fall"),
    ],
)
def test_each_fault_is_a_no_go_with_its_reason(change, reason):
    assert [reason in found for found in list_objections(**{**GOOD, **change})] == [True]


def test_labels_are_checked_against_the_answers_themselves(tokenizer, records):
    rows = render_records(tokenizer, records, WHOLE).rows
    assert find_mislabelled(tokenizer, records, rows, WHOLE) == []
    prompt_too = {**rows[0], "labels": rows[0]["input_ids"]}
    no_end = {**rows[1], "labels": [IGNORE if label == 2 else label for label in rows[1]["labels"]]}
    assert find_mislabelled(tokenizer, records, [prompt_too, no_end, rows[2]], WHOLE) == [rows[0]["id"], rows[1]["id"]]


def test_mean_loss_is_over_tokens_not_rows():
    assert average_loss([Score(10.0, 1, []), Score(0.0, 9, [])]) == 1.0


def test_a_held_out_split_may_miss_half_of_its_rows():
    lengths = {"test": {"share_above_max_length": 0.5}, "golden": {"share_above_max_length": 0.8}}
    assert object_to_held_out_rows(lengths) == [
        "80.0% of the golden rows exceed max_length, and the evaluation needs half of them"
    ]
    lengths["golden"]["share_left_out"] = 0.1  # what no cut makes fit
    assert object_to_held_out_rows(lengths) == []


CONTRACT = "The tenant pays the rent on time. " * 40


@pytest.fixture
def run_pilot(tmp_path, monkeypatch, tiny_model, tiny_params):
    """The stage on contracts, of which every third or so fits, with lengths as the card writes them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    Path("models").mkdir()
    Path("models/base").symlink_to(tiny_model)

    def run(every: int = 3, **params) -> tuple[str, dict]:
        values = load_yaml(ROOT / "params.yaml") | tiny_params | {"max_length": 100, "dtype": "float32"} | params
        write_text("params.yaml", json.dumps(values))
        tokenizer, rendering = load_tokenizer("models/base"), Rendering.from_params(values)
        figures = {}
        for split, count in (("train", 12), ("val", 3), ("test", 3), ("golden", 3)):
            rows = [contract(f"{split} {number}", "" if number % every == 0 else CONTRACT) for number in range(count)]
            write_jsonl(f"data/split/{split}.jsonl", rows)
            lengths = measure_row_lengths(rows, tokenizer, rendering, split).lengths
            figures |= summarise_row_lengths({split: lengths}, values["max_length"])
            figures[split] |= measure_cuts(rows, tokenizer, rendering)
        write_json("metrics/lengths.json", figures)
        try:
            said = pilot.main.__wrapped__(Params("pilot", values), "0" * 16)
        except Stop as stop:
            said = str(stop)
        report = Path("models/pilot/report.json")
        return said, read_json(report) if report.exists() else {}

    return run


def contract(name: str, context: str) -> dict:
    messages = make_messages(f"Is it so, {name}?", context, "True", context_first=True)
    return make_record(messages, "s", "f.jsonl", 1, "t", name, None)


def test_too_many_long_rows_stop_before_the_first_step_and_name_what_to_choose(run_pilot, monkeypatch):
    monkeypatch.setattr(pilot, "load_trainee", None)  # nothing is trained
    said, report = run_pilot()
    assert said.startswith("no-go: 8 of 12 train rows exceed max_length (66.7%, and pilot_max_too_long allows 2.0%)")
    assert "66.7% of the golden rows exceed max_length" in said and "Nothing was trained." in said
    length = read_json("metrics/lengths.json")["train"]["keeps_99_percent"]
    assert f"`max_length: {length}` keeps 99 % (about 0." in said and " GB of memory and " in said
    assert said.index("`long_rows: cut_context`") < said.index("`max_record_tokens`")
    assert "`pilot_max_too_long: 0.68`" in said and "max_response_chars" not in said  # the answers are short
    assert report["go"] is False and report["train_rows_too_long"] == 8 and report["loss_before"] is None


def test_the_pilot_draws_the_golden_rows_that_fit_and_says_how_many(run_pilot):
    said, report = run_pilot(every=2, pilot_max_too_long=0.6)
    assert "on 2 of 3 golden rows, the others exceed max_length 100" in said
    assert (report["golden_rows"], report["golden_rows_too_long"]) == (3, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_length": 257}, "max_length is 257, but the model has learnt 256 positions and has no others"),
        ({"max_new_tokens": 250}, "the longest prompt and max_new_tokens 250 take"),
    ],
)
def test_learnt_positions_that_rows_or_answers_exceed_stop_the_pilot(change, words, run_pilot, learnt_positions):
    Path("models/base").unlink()
    Path("models/base").symlink_to(learnt_positions)
    said, report = run_pilot(every=1, **change)
    assert said.startswith(words) and report == {}


def test_cut_contexts_are_a_go_and_are_counted(run_pilot):
    said, report = run_pilot(long_rows="cut_context")
    assert "on 3 of 3 golden rows" in said and "exceed" not in said
    assert (report["train_rows_too_long"], report["train_rows_cut"]) == (0, 8)
    assert read_json("metrics/lengths.json")["train"]["share_context_cut"] == pytest.approx(8 / 12)


def test_a_new_token_that_no_row_has_stops_before_the_first_step(run_pilot, monkeypatch):
    monkeypatch.setattr(pilot, "load_trainee", None)  # nothing is trained
    monkeypatch.setattr(pilot, "read_added_tokens", lambda _: [2, 3])  # the end of each turn, <repo_name>
    said, report = run_pilot(every=1)
    assert said.startswith("no-go: no train row has <repo_name>: write it into rows, or take it out of")
    assert report["go"] is False
