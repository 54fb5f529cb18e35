"""The rows of the evaluate stage: what is in them, and which have what."""

from pathlib import Path

import pytest

from stages import evaluate
from stages.evaluate import add_answers, make_held_out_families
from tunelock.answering.choices import replace_answer
from tunelock.answering.families import Family, score_questions
from tunelock.answering.scoring import score_rows
from tunelock.model.modeling import load_model
from tunelock.records.record import make_messages
from tunelock.records.scored_row import ScoredRow
from tunelock.rendering.conversation import render_messages
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, write_jsonl
from tunelock.run.params import Params

PATTERNS = {"classify": r"^- (.+)$"}
GENERAL = [{"question": "Why?", "answer": "Because."}, {"question": "Which?\n- this\n- that", "answer": "that"}]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, "float32")


@pytest.fixture(scope="module")
def asked(records):
    """The records, the classify ones with options; one of them lacks its answer among them; and a raw text."""
    found = []
    for number, record in enumerate(records):
        said = record["messages"]
        if record["task"] == "classify":
            options = ["CWE-1: One", "CWE-2: Two", "x" if number == 11 else said[-1]["content"]]
            listed = "\n".join(f"- {option}" for option in options)
            said = make_messages(said[0]["content"], listed, said[-1]["content"])
        found.append({**record, "messages": said})
    text = {"id": "text", "group": "t", "task": "text", "messages": [{"role": "text", "content": "A raw text."}]}
    return [*found, text]


@pytest.fixture(scope="module")
def families(tokenizer, asked) -> list[Family]:
    return make_held_out_families(tokenizer, asked, Rendering(256), PATTERNS)


@pytest.fixture(scope="module")
def rows(model, families) -> list[ScoredRow]:
    return [one.row for one in score_questions(model, families, "test", 5)]


def test_rows_keep_their_order_and_say_where_they_come_from(rows, families, asked):
    for row, record in zip(rows, asked, strict=True):
        assert [row[key] for key in ("id", "group", "task")] == [record[key] for key in ("id", "group", "task")]
        assert row["reference"] == record["messages"][-1]["content"]
    assert rows[0]["question"] == asked[0]["messages"][0]["content"]
    prompts = [family.take_prompt() for family in families]
    assert prompts[-1] == [] and all(prompts[:-1])


def test_losses_are_those_of_the_rendered_rows(rows, model, tokenizer, asked):
    for row, found in zip(rows, score_rows(model, render_records(tokenizer, asked, Rendering(256)).rows, 1)):
        assert (row["loss"], row["tokens"]) == (pytest.approx(found.loss, rel=1e-5), found.tokens)
        assert sum(cell[0] for cell in row["confidence"]) == found.tokens


def test_the_other_loss_is_that_of_another_groups_answer_to_this_question(rows, model, tokenizer, asked):
    by_id = {record["id"]: record for record in asked}
    for row, record in zip(rows[:-1], asked):
        other = by_id[row["other_id"]]
        assert other["task"] == record["task"] and other["group"] != record["group"]
        said = replace_answer(record["messages"], other["messages"][-1]["content"])
        [found] = score_rows(model, [render_messages(tokenizer, said)._asdict()], 1)
        assert found.tokens == row["other_tokens"] and found.loss == pytest.approx(row["other_loss"], rel=1e-5)
    assert "other_loss" not in rows[-1]


def test_choices_are_scored_where_the_answer_is_among_them(rows):
    with_choices = [row for row in rows if "choices" in row]
    assert [row["id"] for row in with_choices] == ["row-2", "row-5", "row-8"]
    for row in with_choices:
        assert row["right"] == 2 and row["choices"][2] == row["reference"]
        assert len(row["choice_losses"]) == 3 and all(loss > 0 for loss in row["choice_losses"])
        assert row["choice_losses"][2] < row["loss"]  # the same tokens but for the end


def test_without_patterns_there_are_no_choices(tokenizer, asked):
    assert not any(family.choice for family in make_held_out_families(tokenizer, asked[:3], Rendering(256), None))


def test_answers_are_decoded_and_say_whether_they_ended(tokenizer):
    end = tokenizer.eos_token_id
    tokens = tokenizer(" Escape it.").input_ids
    rows = [{}, {}]
    add_answers(rows, [[*tokens, end], tokens], tokenizer, (end,))
    assert rows[0] == {"answer": "Escape it.", "stopped": True, "new_tokens": len(tokens) + 1}
    assert rows[1] == {"answer": "Escape it.", "stopped": False, "new_tokens": len(tokens)}


def test_rows_that_do_not_fit_or_no_rows_stop(tokenizer, asked):
    with pytest.raises(Stop, match="12 of 13 rows exceed max_length 8"):
        make_held_out_families(tokenizer, asked, Rendering(8), None)
    with pytest.raises(Stop, match="0 of 0"):
        make_held_out_families(tokenizer, [], Rendering(256), None)


def test_rows_that_do_not_fit_are_left_out_where_they_are_few(tokenizer, asked, capsys):
    long = {
        **asked[0],
        "id": "long",
        "messages": [{**asked[0]["messages"][0], "content": "why " * 300}, asked[0]["messages"][-1]],
    }
    families = make_held_out_families(tokenizer, [long, *asked], Rendering(256), None)
    assert [family.record["id"] for family in families] == [record["id"] for record in asked]
    assert f"1 of {len(asked) + 1} rows exceed max_length 256 and are not scored" in capsys.readouterr().err


@pytest.fixture
def project(tiny_model, asked, tmp_path, monkeypatch):
    """A folder with what the stage reads, and its params."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/base").symlink_to(tiny_model)
    for name, part in (("test", asked[:7]), ("golden", asked[7:])):
        write_jsonl(f"data/split/{name}.jsonl", part)
    write_jsonl("data/general/questions.jsonl", GENERAL)
    return {
        "num_threads": 1, "dtype": "bfloat16", "system_prompt": None, "max_length": 256, "max_turns": None,
        "long_rows": "set_aside", "thinking": "none", "choice_patterns": PATTERNS, "eval_batch_size": 4,
        "max_predict_samples": 5, "max_new_tokens": 3,
        "generation_backend": "transformers", "general_source": {"path": "data/general/questions.jsonl"},
    }  # fmt: skip


def read(project) -> list[dict]:
    """The rows of the base by the stage's `main` without the checks around it."""
    evaluate.main("base", Params("evaluate_base", project), "")
    return list(read_jsonl("models/evaluation/base.jsonl"))


def test_the_first_rows_of_each_split_are_answered(project, asked):
    rows = read(project)
    assert [row["id"] for row in rows[:13]] == [record["id"] for record in asked]
    assert [row["split"] for row in rows] == ["test"] * 7 + ["golden"] * 6 + ["general"] * 2
    assert ["answer" in row for row in rows] == [True] * 5 + [False] * 2 + [True] * 5 + [False] * 3
    assert all(row["new_tokens"] <= 3 for row in rows if "answer" in row)


def test_answers_kept_from_a_run_before_are_the_same(project, monkeypatch):
    first = read(project)
    monkeypatch.setattr("tunelock.answering.generation.decode_greedily", None)  # nothing is computed again
    assert read(project) == first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_length": 257}, "max_length is 257, but the model has learnt 256 positions"),
        ({"max_new_tokens": 250}, "the longest prompt and max_new_tokens 250 take"),
    ],
)
def test_rows_and_answers_beyond_the_learnt_positions_stop_before_any_is_scored(
    change, words, project, learnt_positions, monkeypatch
):
    Path("models/base").unlink()
    Path("models/base").symlink_to(learnt_positions)
    monkeypatch.setattr(evaluate, "score_questions", None)
    with pytest.raises(Stop, match=words):
        read(project | change)


def test_vllm_answers_where_it_is_asked_for(project, monkeypatch):
    project["generation_backend"] = "vllm"
    given = []
    monkeypatch.setattr(evaluate, "generate_by_vllm", lambda *args: given.append(args) or [[5]] * len(args[2]))
    rows = read(project)
    assert given[0][0] == "models/base" and [len(prompts) for _, _, prompts, _, _ in given] == [10]
    assert [row["new_tokens"] for row in rows if "answer" in row] == [1] * 10
