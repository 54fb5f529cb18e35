"""The rows of the evaluate stage: what is in them, and which have what."""

import json

import pytest

from stages import evaluate
from stages.evaluate import add_answers, scored
from tunelock.answering.choices import with_answer
from tunelock.answering.scoring import score
from tunelock.model.modeling import load_model
from tunelock.records.record import make_messages
from tunelock.rendering.rendering import Rendering, render_messages, render_records, select_messages
from tunelock.run.errors import Stop
from tunelock.run.params import Params

PATTERNS = {"classify": r"^- (.+)$"}


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
def rows(model, tokenizer, asked):
    return scored(model, tokenizer, asked, Rendering(256), PATTERNS, 5)


def test_rows_keep_their_order_and_say_where_they_come_from(rows, asked):
    for row, record in zip(rows[0], asked, strict=True):
        assert [row[key] for key in ("id", "group", "task")] == [record[key] for key in ("id", "group", "task")]
        assert row["reference"] == record["messages"][-1]["content"]
    assert rows[0][0]["question"] == asked[0]["messages"][0]["content"]
    assert rows[1][-1] == [] and all(rows[1][:-1])


def test_losses_are_those_of_the_rendered_rows(rows, model, tokenizer, asked):
    for row, (loss, tokens) in zip(rows[0], score(model, render_records(tokenizer, asked, Rendering(256)).rows, 1)):
        assert (row["loss"], row["tokens"]) == (pytest.approx(loss, rel=1e-5), tokens)
        assert sum(cell[0] for cell in row["confidence"]) == tokens


def test_the_other_loss_is_that_of_another_groups_answer_to_this_question(rows, model, tokenizer, asked):
    by_id = {record["id"]: record for record in asked}
    for row, record in zip(rows[0][:-1], asked):
        other = by_id[row["other_id"]]
        assert other["task"] == record["task"] and other["group"] != record["group"]
        said = with_answer(select_messages(record, Rendering(256)), other["messages"][-1]["content"])
        ((loss, tokens),) = score(model, [render_messages(tokenizer, said)._asdict()], 1)
        assert tokens == row["other_tokens"] and loss == pytest.approx(row["other_loss"], rel=1e-5)
    assert "other_loss" not in rows[0][-1]


def test_choices_are_scored_where_the_answer_is_among_them(rows):
    with_choices = [row for row in rows[0] if "choices" in row]
    assert [row["id"] for row in with_choices] == ["row-2", "row-5", "row-8"]
    for row in with_choices:
        assert row["right"] == 2 and row["choices"][2] == row["reference"]
        assert len(row["choice_losses"]) == 3 and all(loss > 0 for loss in row["choice_losses"])
        assert row["choice_losses"][2] < row["loss"]  # the same tokens but for the end


def test_without_patterns_there_are_no_choices(model, tokenizer, asked):
    found, _ = scored(model, tokenizer, asked[:3], Rendering(256), None, 5)
    assert not any("choices" in row for row in found)


def test_answers_are_decoded_and_say_whether_they_ended(tokenizer):
    end = tokenizer.eos_token_id
    tokens = tokenizer(" Escape it.").input_ids
    rows = [{}, {}]
    add_answers(rows, [[*tokens, end], tokens], tokenizer, end)
    assert rows[0] == {"answer": "Escape it.", "stopped": True, "new_tokens": len(tokens) + 1}
    assert rows[1] == {"answer": "Escape it.", "stopped": False, "new_tokens": len(tokens)}


def test_rows_that_do_not_fit_or_no_rows_stop(model, tokenizer, asked):
    with pytest.raises(Stop, match="12 of 13 rows exceed max_length 8"):
        scored(model, tokenizer, asked, Rendering(8), None, 5)
    with pytest.raises(Stop, match="0 of 0"):
        scored(model, tokenizer, [], Rendering(256), None, 5)


@pytest.fixture
def project(tiny_model, asked, tmp_path, monkeypatch):
    """A folder with what the stage reads, and its params."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/base").symlink_to(tiny_model)
    (tmp_path / "data/split").mkdir(parents=True)
    for name, part in (("test", asked[:7]), ("golden", asked[7:])):
        (tmp_path / f"data/split/{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    return {
        "num_threads": 1, "dtype": "bfloat16", "system_prompt": None, "max_length": 256, "max_turns": None,
        "choice_patterns": PATTERNS, "eval_batch_size": 4, "max_predict_samples": 5, "max_new_tokens": 3,
        "generation_backend": "transformers",
    }  # fmt: skip


def read(project: dict) -> list[dict]:
    evaluate.main("base", Params("evaluate_base", project), "")
    with open("models/evaluation/base.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_the_first_rows_of_each_split_are_answered(project, asked):
    rows = read(project)
    assert [row["id"] for row in rows] == [record["id"] for record in asked]
    assert [row["split"] for row in rows] == ["test"] * 7 + ["golden"] * 6
    assert ["answer" in row for row in rows] == [True] * 5 + [False] * 2 + [True] * 5 + [False]
    assert all(row["new_tokens"] <= 3 for row in rows if "answer" in row)


def test_answers_kept_from_a_run_before_are_the_same(project, monkeypatch):
    first = read(project)
    monkeypatch.setattr("tunelock.answering.generation.greedy", None)  # nothing is computed again
    assert read(project) == first


def test_vllm_answers_where_it_is_asked_for(project, monkeypatch):
    project["generation_backend"] = "vllm"
    given = []
    monkeypatch.setattr(evaluate, "generate_by_vllm", lambda *args: given.append(args) or [[5]] * len(args[2]))
    rows = read(project)
    assert given[0][0] == "models/base" and [len(prompts) for _, _, prompts, _, _ in given] == [10]
    assert [row["new_tokens"] for row in rows if "answer" in row] == [1] * 10
