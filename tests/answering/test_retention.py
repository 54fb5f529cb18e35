"""Forgetting: what is equal has lost nothing, what is damaged has, and the bundled questions are sound."""

import csv
import hashlib
import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PromptTuningConfig, get_peft_model

from stages.retention import OPTION, general_records, main, questions, with_values
from tunelock.answering.choices import listed
from tunelock.answering.forgetting import Compared, compare, predictions, singles, targets_of
from tunelock.claims.retained import likeliest, retained
from tunelock.model.losses import compute_response_loss
from tunelock.model.modeling import load_model
from tunelock.model.tuned import compute_hidden_states, save_soft_prompt
from tunelock.reading.reading import Source
from tunelock.rendering.rendering import IGNORE, Rendering, load_tokenizer, render_records
from tunelock.run.errors import Stop
from tunelock.run.params import Params, load_yaml
from tunelock.training.penalties.replay import pad_rows

ROOT = Path(__file__).parents[2]
GENERAL = ROOT / "data" / "general" / "questions.jsonl"


def damaged(model, share: float):
    """The same model with noise on its weights, `share` of their spread."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * weight.std(), alpha=share)
    return model


def taught(folder: Path, source: dict):
    """The model in `folder` after a few steps on the answers of a source: it knows something that can be lost."""
    model, (records, _) = load_model(folder, "float32"), general_records(Source(**source))
    ids, labels = pad_rows(render_records(load_tokenizer(folder), records, Rendering(384)).rows, model.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(20):
        loss, tokens = compute_response_loss(
            compute_hidden_states(model, ids), model.get_output_embeddings().weight, labels
        )
        (loss / tokens).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model


def turns(question: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture(scope="module")
def bundled() -> list[dict]:
    return [json.loads(line) for line in GENERAL.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def sampled(tokenizer, monkeypatch):
    """Every fourth bundled question, with its options: rows and families."""
    monkeypatch.chdir(ROOT)
    records, left_out = general_records(Source("data/general/questions.jsonl", task="{task}"))
    assert not left_out
    return questions(tokenizer, records[::4], Rendering(384))


def naive(models, row: dict) -> tuple[float, float, float]:
    """Losses and KL(base || tuned) of one row, straight from the definition."""
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
    with torch.no_grad():
        base, tuned = (model(input_ids=ids).logits[0].float().softmax(-1).log() for model in models)
    places = [place for place in range(1, len(labels)) if labels[place] != IGNORE]
    losses = (-sum(found[place - 1, labels[place]].item() for place in places) for found in (base, tuned))
    return *losses, sum((base[p - 1].exp() @ (base[p - 1] - tuned[p - 1])).item() for p in places)


def test_losses_and_divergence_are_those_of_the_definition(tiny_model, sampled):
    models = load_model(tiny_model, "float32"), damaged(load_model(tiny_model, "float32"), 0.3)
    families = sampled[1]
    rows = list(itertools.chain(*families))
    for row, found in zip(rows, compare(*(predictions(model, families, 7) for model in models), rows), strict=True):
        assert found[1:] == pytest.approx(naive(models, row), rel=1e-3)
        assert found.tokens == sum(label != IGNORE for label in row["labels"])


def test_a_text_is_measured_from_the_first_token_that_has_one_before_it(tiny_model, tokenizer):
    model, record = load_model(tiny_model, "float32"), {"id": "a", "messages": [{"role": "text", "content": "A text."}]}
    rows = render_records(tokenizer, [record], Rendering(384)).rows
    same = predictions(model, [rows], 1)
    [found] = compare(same, same, rows)
    assert found.tokens == len(rows[0]["input_ids"]) - 1
    assert found[1:] == pytest.approx(naive((model, model), rows[0]), rel=1e-4)


def test_options_change_no_answer(tiny_model, sampled):
    """Their sequence is shared, what each sees is not."""
    model, families = load_model(tiny_model, "float32"), sampled[1]
    together = predictions(model, families, 7).states
    alone = predictions(model, singles(families), 7).states
    assert len(together) == len(alone) > len(families)
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(together, alone))


def test_the_likeliest_option_is_the_first_of_equals():
    assert likeliest([2.0, 1.0, 1.0]) == 1


def test_an_options_loss_is_over_its_own_tokens_without_the_end(tokenizer, sampled):
    rows, families = sampled
    assert sum("choices" in row for row in rows) > 6
    for row, family in zip(rows, families):
        if "choices" in row:
            assert [tokenizer.decode(targets_of(option)) for option in family[1:]] == row["choices"]


def test_the_other_answer_is_that_of_another_question_of_the_task(sampled):
    rows, families = sampled
    own = {row["id"]: (row, family[0]) for row, family in zip(rows, families)}
    chosen = [(row, family) for row, family in zip(rows, families) if "other_id" in row]
    assert len(chosen) > 6
    for row, (mine, other) in chosen:
        named, its_own = own[row["other_id"]]
        assert row["task"] == named["task"]
        assert row["id"] != named["id"]
        assert targets_of(other) == targets_of(its_own)
        assert other["input_ids"][: mine["prompt_length"]] == mine["input_ids"][: mine["prompt_length"]]


def test_options_that_do_not_fit_are_none(tokenizer):
    record = {"id": "a", "group": "a", "task": "t"} | turns(f"Which?\n- a\n- {'b ' * 50}", "a")
    size = len(render_records(tokenizer, [record], Rendering(384)).rows[0]["input_ids"])
    assert "choices" not in questions(tokenizer, [record], Rendering(size))[0][0]
    assert len(questions(tokenizer, [record], Rendering(size + 60))[0][0]["choices"]) == 2


def row_of(number: int, base: float, tuned: float, **more) -> dict:
    return {
        "id": str(number),
        "group": str(number),
        "tokens": 2,
        "loss_base": base,
        "loss_tuned": tuned,
        "kl": 0.5,
        **more,
    }


def test_retention_is_the_share_of_the_probability_a_token():
    found = retained([row_of(n, 2 * -math.log(0.5), 2 * -math.log(0.4)) for n in range(9)], 0.95, 200)
    assert found["retention"] == pytest.approx(0.8)
    assert found["general_perplexity_base"] == pytest.approx(2)
    assert found["general_kl"] == pytest.approx(0.25)
    assert found["general_rows"] == 9
    assert "general_accuracy_base" not in found


def test_the_interval_is_around_retention_and_in_its_order():
    draw = np.random.default_rng(0)
    found = retained([row_of(n, 3.0, 3.0 + draw.normal(0.4, 0.3)) for n in range(40)], 0.95, 500)
    assert 0.6 < found["retention_low"] < found["retention"] < found["retention_high"] < 1


def test_too_few_questions_have_no_interval():
    assert retained([row_of(0, 3.0, 3.5), row_of(1, 3.0, 3.5)], 0.95, 200).keys().isdisjoint({"retention_low"})


def test_contrast_is_what_the_own_question_is_worth_to_the_same_tokens():
    rows = [{"id": "a", "other_id": "b"}, {"id": "b", "other_id": "a"}, {"id": "c"}]
    answers = [Compared(4, 8.0, 4.0, 0.0), Compared(2, 2.0, 2.0, 0.0), Compared(3, 1.0, 1.0, 0.0)]
    others = [Compared(2, 6.0, 3.0, 0.0), Compared(4, 12.0, 12.0, 0.0)]
    compared = [answers[0], others[0], answers[1], others[1], answers[2]]
    found = retained([{"group": "g", **row} for row in with_values(rows, compared)], 0.95, 200)
    assert found["general_contrast_base"] == pytest.approx(((6 - 2) / 2 + (12 - 8) / 4) / 2)
    assert found["general_contrast_tuned"] == pytest.approx(((3 - 2) / 2 + (12 - 4) / 4) / 2)
    assert found["general_contrast_change"] == pytest.approx(1.25 - 1.5)


def test_accuracy_is_by_likelihood_of_those_with_options():
    rows = [{**row_of(n, 1.0, 1.0), **({"choices": ["a", "b"], "right": 1} if n < 2 else {})} for n in range(3)]
    options = [Compared(1, base, tuned, 0.0) for base, tuned in ((2.0, 1.0), (1.0, 2.0), (1.0, 1.0), (2.0, 2.0))]
    answer = Compared(2, 1.0, 1.0, 0.5)
    found = retained(with_values(rows, [answer, *options[:2], answer, *options[2:], answer]), 0.95, 200)
    assert (found["general_accuracy_base"], found["general_accuracy_tuned"]) == (0.5, 0.0)


@pytest.fixture
def project(tmp_path, monkeypatch, tiny_model):
    """A folder with the tiny model as base and merged, and the stage's `main` without the checks around it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("models", "data/general", "metrics"):
        Path(folder).mkdir(parents=True)
    for name in ("base", "merged"):
        Path("models", name).symlink_to(tiny_model)
    values = {key: load_yaml(ROOT / "params.yaml")[key] for key in
              ("system_prompt", "max_length", "max_turns", "num_threads", "confidence_level")}  # fmt: skip
    values |= {"dtype": "float32", "eval_batch_size": 5, "bootstrap_samples": 200}

    def run(**params) -> tuple[dict, list[dict]]:
        main.__wrapped__(Params("retention", {**values, **params}), "")
        lines = Path("models/evaluation/general.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads(Path("metrics/retention.json").read_text()), [json.loads(line) for line in lines]

    return run


def some(bundled: list[dict]) -> dict:
    """A general source of eight of the bundled questions."""
    Path("data/general/some.jsonl").write_text(
        "\n".join(json.dumps(row) for row in bundled[::20] + bundled[-2:]), encoding="utf-8"
    )
    return {"path": "data/general/some.jsonl", "task": "{task}"}


def test_the_same_model_has_forgotten_nothing(project, bundled):
    metrics, rows = project(general_source=some(bundled))
    assert [metrics[key] for key in ("retention", "retention_low", "retention_high", "general_kl")] == [1, 1, 1, 0]
    assert metrics["general_accuracy_base"] == metrics["general_accuracy_tuned"]
    assert metrics["general_contrast_change"] == 0
    assert metrics["general_perplexity_base"] == metrics["general_perplexity_tuned"] > 1
    assert metrics["general_rows"] == len(rows) == 8
    assert [(row["task"], row["reference"]) for row in rows] == [
        (row["task"], row["messages"][-1]["content"]) for row in bundled[::20] + bundled[-2:]
    ]
    assert all(len(row["choice_losses_tuned"]) == 4 for row in rows if "choices" in row)


def test_a_damaged_model_has_forgotten(project, bundled, tiny_model):
    source = some(bundled)
    model = taught(tiny_model, source)
    for name in ("base", "merged"):
        Path("models", name).unlink()
        (damaged(model, 1.0) if name == "merged" else model).save_pretrained(f"models/{name}")
        load_tokenizer(tiny_model).save_pretrained(f"models/{name}")
    metrics, rows = project(general_source=source)
    assert metrics["retention"] < metrics["retention_high"] < 0.95
    assert metrics["general_kl"] > 0.05
    assert all(row["kl"] > 0 for row in rows)


def test_a_soft_prompt_is_measured_with_its_base(project, bundled, tiny_model):
    Path("models/merged").unlink()
    torch.manual_seed(0)
    prompt = get_peft_model(
        load_model(tiny_model, "float32"), PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    )
    prompt.save_pretrained("adapter")
    Path("models/merged").mkdir()
    save_soft_prompt(Path("adapter"), tiny_model, Path("models/merged"))
    load_tokenizer(tiny_model).save_pretrained("models/merged")
    metrics, _ = project(general_source=some(bundled))
    assert metrics["general_kl"] > 0
    assert metrics["retention"] != 1


def test_a_table_of_ones_own_is_a_general_source(project, capsys):
    with open("data/general/mine.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["frage", "antwort"])
        table.writerows([["Which?\n- x\n- y", "y"], ["Why?", "Because."], ["Empty?", ""], ["Why?", "Because."]])
        table.writerow(["Long?", "word " * 400])
    metrics, rows = project(
        general_source={
            "path": "data/general/mine.csv",
            "columns": {"instruction": "{frage}", "response": "{antwort}"},
        }
    )
    assert [row["reference"] for row in rows] == ["y", "Because."]
    assert metrics["general_rows"] == 2
    assert metrics["general_accuracy_base"] in (0, 1)
    assert "2 rows; left out: 1 empty_answer, 1 longer than max_length, 1 twice" in capsys.readouterr().err


def test_without_lists_of_options_there_is_no_accuracy(project):
    Path("data/general/a.jsonl").write_text(json.dumps({"question": "Why?", "answer": "Because."}))
    metrics, rows = project(general_source={"path": "data/general/a.jsonl"})
    assert not [key for key in metrics if "accuracy" in key]
    assert "choices" not in rows[0]


def test_no_row_left_stops(project):
    Path("data/general/a.jsonl").write_text(json.dumps({"question": "Why?", "answer": "word " * 400}))
    with pytest.raises(Stop, match=r"no row is left \(1 longer than max_length\)"):
        project(general_source={"path": "data/general/a.jsonl"})


def test_a_file_that_dvc_does_not_watch_is_to_be_pinned(project, bundled):
    text = json.dumps(bundled[0])
    Path("mine.jsonl").write_text(text)
    with pytest.raises(Stop, match="not in data/general, the one folder that DVC watches"):
        project(general_source={"path": "mine.jsonl"})
    pin = hashlib.sha256(text.encode()).hexdigest()
    assert project(general_source={"path": "mine.jsonl", "revision": pin})[0]["general_rows"] == 1


def test_the_readme_of_the_folder_is_no_question(monkeypatch):
    monkeypatch.chdir(ROOT)
    records, _ = general_records(Source("data/general"))
    assert {record["file"] for record in records} == {"data/general/questions.jsonl"}


def test_the_bundled_questions_are_sound(bundled):
    assert 110 <= len(bundled) <= 130
    asked = [row["messages"][0]["content"] for row in bundled]
    assert len({re.sub(r"\W+", " ", question).casefold() for question in asked}) == len(asked)
    assert not [text for row in bundled for text in map(str, row.values()) if re.search(r"CWE|CVE|vulnerab", text)]
    assert all([m["role"] for m in row["messages"]] == ["user", "assistant"] for row in bundled)
    assert len({row["task"] for row in bundled}) >= 8


def test_the_bundled_choices_are_sound(bundled):
    chosen = [row for row in bundled if re.search(OPTION, row["messages"][0]["content"], re.MULTILINE)]
    places = Counter()
    for row in chosen:
        choices, right = listed(row["messages"], OPTION)
        assert len(choices) == 4
        assert max(map(len, choices)) <= 2.5 * min(map(len, choices)) + 3, choices
        places[right] += 1
    assert 45 <= len(chosen) <= 55
    assert all(9 <= places[place] <= 16 for place in range(4)), places
