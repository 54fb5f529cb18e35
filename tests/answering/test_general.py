"""Forgetting: what is equal has lost nothing, what is damaged has, and the bundled questions are sound."""

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model

from stages import evaluate
from stages.evaluate import BASE_STATES, OPTION, read_general_families, read_general_records
from tunelock.answering.choices import find_choice
from tunelock.answering.divergence import join_states, measure_divergence, read_states, take_head
from tunelock.answering.families import Family, make_families, score_questions
from tunelock.answering.scoring import score_rows
from tunelock.claims.retention import measure_retention
from tunelock.metrics.digits import round_digits
from tunelock.model.losses import compute_response_loss
from tunelock.model.modeling import load_model
from tunelock.model.tuned import compute_hidden_states, save_soft_prompt
from tunelock.reading.reading import Source
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import RENDERING_PARAMS, Rendering, load_tokenizer, render_records
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl, write_jsonl
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
    model, (records, _) = load_model(folder, "float32"), read_general_records(Source(**source))
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
def sampled(tokenizer, tmp_path, monkeypatch) -> list[Family]:
    """Every fourth bundled question, with its options."""
    monkeypatch.chdir(tmp_path)
    lines = GENERAL.read_text(encoding="utf-8").splitlines(keepends=True)
    Path("data/general").mkdir(parents=True)
    Path("data/general/some.jsonl").write_text("".join(lines[::4]), encoding="utf-8")
    return read_general_families(tokenizer, Rendering(384), Source("data/general/some.jsonl", task="{task}"))


def targets_of(row: dict) -> list[int]:
    """The labelled tokens of a row that something comes before."""
    return [label for label in row["labels"][1:] if label != IGNORE]


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
    base, tuned = (score_questions(model, sampled, "general", 7, keep_states=True) for model in models)
    found = join_states(tuned)
    divergences = measure_divergence(join_states(base).states, take_head(models[0]), found, take_head(models[1]))
    for family, before, after, divergence in zip(sampled, base, tuned, divergences, strict=True):
        measured = before.row["loss"], after.row["loss"], divergence
        assert measured == pytest.approx(naive(models, family.own), rel=1e-3)
        assert before.row["tokens"] == found.tokens[before.row["id"]] == len(targets_of(family.own))


def test_a_text_is_measured_from_the_first_token_that_has_one_before_it(tiny_model, tokenizer):
    model, record = load_model(tiny_model, "float32"), {"id": "a", "messages": [{"role": "text", "content": "A text."}]}
    [row] = render_records(tokenizer, [record], Rendering(384)).rows
    [found] = score_rows(model, [row], 1)
    assert found.tokens == len(row["input_ids"]) - 1
    assert found.loss == pytest.approx(naive((model, model), row)[0], rel=1e-4)


def test_an_options_loss_is_over_its_own_tokens_without_the_end(tokenizer, sampled):
    chosen = [family for family in sampled if family.choice]
    assert len(chosen) > 6
    for family in chosen:
        assert [tokenizer.decode(targets_of(option)) for option in family.options] == family.choice.options


def test_the_other_answer_is_that_of_another_question_of_the_task(sampled):
    by_id = {family.record["id"]: family for family in sampled}
    chosen = [family for family in sampled if family.other]
    assert len(chosen) > 6
    for family in chosen:
        named, start = by_id[family.other_id], family.own["prompt_length"]
        assert family.record["task"] == named.record["task"] and not family.choice and not named.choice
        assert family.other_id != family.record["id"]
        assert targets_of(family.other) == targets_of(named.own)
        assert family.other["input_ids"][:start] == family.own["input_ids"][:start]


def test_options_and_wrong_answers_that_do_not_fit_are_none(tokenizer):
    records = [{"id": "a", "group": "a", "task": "t"} | turns(f"Which?\n- a\n- {'b ' * 50}", "a")]
    records += [{"id": "b", "group": "b", "task": "t"} | turns("Why?", "b " * 60)]
    rows = render_records(tokenizer, records, Rendering(384)).rows
    size = max(len(row["input_ids"]) for row in rows)
    tight, roomy = (make_families(tokenizer, records, rows, Rendering(limit), {"t": OPTION}) for limit in (size, 384))
    assert (tight[0].choice, tight[0].options, tight[0].other_id, tight[0].other) == (None, (), None, None)
    assert tight[1].other_id == "a"
    assert len(roomy[0].options) == len(roomy[0].choice.options) == 2 and roomy[0].other_id == "b"


@pytest.fixture
def project(tmp_path, monkeypatch, tiny_model):
    """A folder with the tiny model as base and merged, and the stage's `main` without the checks around it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("models", "data/general", "metrics"):
        Path(folder).mkdir(parents=True)
    for name in ("base", "merged"):
        Path("models", name).symlink_to(tiny_model)
    for split in ("test", "golden"):
        write_jsonl(f"data/split/{split}.jsonl", [{"id": split, "group": "g", "task": "t", **turns("Why?", "So.")}])
    keys = (*RENDERING_PARAMS, "num_threads", "choice_patterns")
    values = {key: load_yaml(ROOT / "params.yaml")[key] for key in keys}
    values |= {"dtype": "float32", "eval_batch_size": 5, "max_predict_samples": 0, "max_new_tokens": 1,
               "generation_backend": "transformers"}  # fmt: skip

    def run(**params) -> tuple[dict, list[dict]]:
        for which in ("base", "tuned"):
            evaluate.main(which, Params("evaluate", {**values, **params}), "")
        base, tuned = (list(read_jsonl(f"models/evaluation/{which}.jsonl"))[2:] for which in ("base", "tuned"))
        return round_digits(measure_retention(base, tuned, 0.95, 200)), tuned

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
    assert all(len(row["choice_losses"]) == 4 for row in rows if "choices" in row)


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


def test_the_base_is_asked_once_and_its_file_is_of_these_questions(project, bundled):
    source = some(bundled)
    project(general_source=source)
    first = Path(BASE_STATES).read_bytes()
    project(general_source=source)
    assert Path(BASE_STATES).read_bytes() == first
    with pytest.raises(Stop, match="other general questions than these; run `dvc repro evaluate_base`"):
        read_states(BASE_STATES, {"another": 3})


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
    records, _ = read_general_records(Source("data/general"))
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
        choices, right = find_choice(row["messages"], OPTION)
        assert len(choices) == 4
        assert max(map(len, choices)) <= 2.5 * min(map(len, choices)) + 3, choices
        places[right] += 1
    assert 45 <= len(chosen) <= 55
    assert all(9 <= places[place] <= 16 for place in range(4)), places
