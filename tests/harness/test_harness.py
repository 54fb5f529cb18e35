"""lm-evaluation-harness finds our scores: the same rows, prompts, tokens and log-likelihoods."""

import copy
import functools
import importlib.util
import math
import os
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from stages.evaluate import make_held_out_families
from tests.command_line import run_tunelock
from tunelock.answering.families import score_questions
from tunelock.harness import lm_eval_runner as harness
from tunelock.harness.harness_scores import CHOICE, PERPLEXITY
from tunelock.harness.task_rows import make_documents
from tunelock.metrics.registry import METRICS
from tunelock.model.modeling import load_model
from tunelock.records.record import make_messages
from tunelock.rendering.conversation import IGNORE, render_messages, render_prompt
from tunelock.rendering.rendering import Rendering, select_messages
from tunelock.run.errors import Stop
from tunelock.run.files import write_jsonl

ROOT = Path(__file__).parents[2]
SYSTEM = "Be brief."
BY_NATS, BY_CHARACTERS = METRICS["choice_accuracy"], METRICS["choice_accuracy_norm"]
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
# A random model gives each token much the same, so these are likeliest by tokens, by characters and by bytes, in turn.
OPTIONS = ["yes", "yesterday", "————", "[1, 2]", "2024-01-01"]


def asked(number: int) -> dict:
    """A record with four options, of which the reference is one."""
    options = [OPTIONS[(number + place * (1 + number % 3)) % 5] for place in range(4)]
    options = [*dict.fromkeys(options), f"none of them ({number})"]
    question = "\n".join([f"Which is it, number {number}?", *(f"- {option}" for option in options)])
    messages = make_messages(question, "", options[number % 3], SYSTEM if number % 4 == 0 else "")
    return {"id": f"choice-{number}", "group": str(number), "task": "classify", "messages": messages}


@pytest.fixture(scope="module")
def split(records) -> list[dict]:
    """Twelve records with options and four without."""
    return [asked(number) for number in range(12)] + [{**record, "task": "explain"} for record in records[:4]]


@pytest.fixture(scope="module")
def ours(tiny_model, tokenizer, split) -> list[dict]:
    """The rows of `stages.evaluate`."""
    families = make_held_out_families(tokenizer, split, Rendering(512), {"classify": "^- (.+)$"})
    return [one.row for one in score_questions(load_model(tiny_model, "float32"), families, "test", 5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model, split, ours) -> Path:
    """What the command reads, for the tiny model in float32."""
    folder = tmp_path_factory.mktemp("harness")
    (folder / "params.yaml").write_text(
        "{dtype: float32, system_prompt: null, max_length: 512, max_turns: null, long_rows: set_aside, thinking: none, "
        "num_threads: 2}"
    )
    for name in ("pyproject.toml",):
        (folder / name).symlink_to(ROOT / name)
    (folder / "models").mkdir()
    (folder / "models/merged").symlink_to(tiny_model)
    write_jsonl(folder / "data/split/test.jsonl", split)
    write_jsonl(folder / "models/evaluation/tuned.jsonl", ours)
    return folder


class Run(NamedTuple):
    """What a run of the command left: its output, the model, the harness's result."""

    printed: str
    model: object
    found: dict


@pytest.fixture(scope="module")
def command(folder) -> Run:
    """One run of the command in this process, every way to the network closed."""
    pytest.importorskip("lm_eval")
    kept = {}

    def keep(name: str, call):
        return lambda *given: kept.setdefault(name, call(*given))

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in OFFLINE:
            patch.setenv(name, "0")  # and back to what it was, once the command has set it
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
        patch.setattr(harness, "load", keep("model", harness.load))
        patch.setattr(harness, "score", keep("found", harness.score))
        done = run_tunelock("harness", "--batch-size", 5)
        assert done.exit_code == 0, done.stderr
        assert [os.environ[name] for name in OFFLINE] == ["1", "1"]
    return Run(done.stdout, **kept)


@pytest.fixture(scope="module")
def found(command) -> dict:
    return command.found


def test_accuracies_are_the_same_by_row(found, ours):
    rows = {row["id"]: row for row in ours}
    samples = found["samples"][CHOICE]
    assert len(samples) == 12
    differ = False
    for sample in samples:
        row = rows[sample["doc"]["id"]]
        differ |= BY_NATS.measure([row]) != BY_CHARACTERS.measure([row])
        assert (sample["acc"], sample["acc_norm"]) == (BY_NATS.measure([row]), BY_CHARACTERS.measure([row]))
    assert differ
    for metric in ("acc", "acc_norm"):
        assert 0 < found["results"][CHOICE][f"{metric},none"] < 1  # or it would tell nothing


def test_the_log_likelihood_of_each_option_is_ours(found, ours):
    rows = {row["id"]: row for row in ours}
    for sample in found["samples"][CHOICE]:
        theirs = [-value for value, _ in sample["filtered_resps"]]
        assert theirs == pytest.approx(rows[sample["doc"]["id"]]["choice_losses"], abs=1e-3)


def test_perplexity_and_the_log_likelihood_of_each_reference_are_ours(found, ours):
    assert len(found["samples"][PERPLEXITY]) == 16
    for sample, row in zip(found["samples"][PERPLEXITY], ours):
        assert -sample["filtered_resps"][0][0] == pytest.approx(row["loss"], abs=1e-3)
    expected = math.exp(sum(row["loss"] for row in ours) / sum(row["tokens"] for row in ours))
    assert found["results"][PERPLEXITY]["perplexity,none"] == pytest.approx(expected, rel=1e-5)


def test_the_table_has_both_and_says_how_far_they_are_apart(command, ours):
    choices = [row for row in ours if "choices" in row]
    for name, rows, value in [
        ("choice accuracy (acc)", 12, BY_NATS.measure(choices)),
        ("the same by characters (acc_norm)", 12, BY_CHARACTERS.measure(choices)),
        ("perplexity of the references", 16, METRICS["perplexity"].measure(ours)),
    ]:
        (line,) = [line for line in command.printed.splitlines() if line.startswith(f"| {name} |")]
        count, *values = [float(cell) for cell in line.split("|")[2:-1]]
        assert count == rows and values == pytest.approx([value, value], rel=1e-5, abs=1e-4)
    (line,) = [line for line in command.printed.splitlines() if line.startswith("Largest difference (nats)")]
    gaps = [float(word) for word in line.replace(":", " ").split() if word[0].isdigit()]
    assert len(gaps) == 2 and max(gaps) < 1e-3
    assert "cannot hold" not in command.printed


def test_the_harness_is_given_our_prompt_token_by_token(command, tokenizer, split):
    for sample, record in zip(command.found["samples"][PERPLEXITY], split):
        prompt, continuation = command.model._encode_pair(*sample["arguments"][0])
        rendered = render_messages(tokenizer, select_messages(tokenizer, record, Rendering(512)))
        assert prompt == render_prompt(tokenizer, select_messages(tokenizer, record, Rendering(512))[:-1])
        assert prompt + continuation == rendered.input_ids[: len(prompt) + rows_tokens(rendered)]


def rows_tokens(rendered) -> int:
    return sum(label != IGNORE for label in rendered.labels)


def test_the_harness_alone_would_score_the_end_of_the_prompt(command):
    """Why its model is not taken as it is; when this fails, `load` needs no class of its own."""
    from lm_eval.models.huggingface import HFLM

    pair = command.found["samples"][PERPLEXITY][0]["arguments"][0]
    prompt, continuation = HFLM._encode_pair(command.model, *pair)
    ours, answer_tokens = command.model._encode_pair(*pair)
    assert prompt == ours[:-1] and continuation == ours[-1:] + answer_tokens


def test_what_a_task_cannot_hold_is_left_out_and_counted(tokenizer):
    said = {
        "talk": make_messages("One?", "", "First.") + make_messages("Two?", "", "Second."),
        "text": [{"role": "text", "content": "Once upon a time."}],
        "control": make_messages("What is <|im_end|>?", "", "A token."),
        "system": make_messages("Who?", "", "Me.", "Be long."),
        "plain": make_messages("Who?", "", "You."),
    }
    records = [{"id": name, "messages": messages} for name, messages in said.items()]
    rows = [{"id": name, "tokens": 3} for name in said]
    made = make_documents(records, rows, tokenizer, Rendering(512, SYSTEM))
    assert made.left_out == {"several turns": 1, "raw text": 1, "control strings in a text": 1}
    assert made.perplexity == [
        {"id": "system", "system": "Be long.", "question": "Who?", "answer": "Me.<|im_end|>", "tokens": 3},
        {"id": "plain", "system": SYSTEM, "question": "Who?", "answer": "You.<|im_end|>", "tokens": 3},
    ]
    assert made.choice == []
    (last,) = make_documents(
        records[:1], rows, tokenizer, Rendering(512, max_turns=1)
    ).perplexity  # max_turns leaves one question
    assert (last["question"], last["answer"]) == ("Two?", "Second.<|im_end|>")


def test_a_record_without_a_row_of_ours_stops(tokenizer):
    with pytest.raises(Stop, match="a has no row in models/evaluation; run `dvc repro evaluate`"):
        make_documents([{"id": "a", "messages": make_messages("Who?", "", "Me.")}], [], tokenizer, Rendering(512))


def test_answers_and_choices_stand_as_the_template_puts_them(tokenizer):
    spaced = copy.deepcopy(tokenizer)
    spaced.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}[{{ m['content'] }}]"
        "{% else %} {{ m['content'] }} <|im_end|>{% endif %}{% endfor %}"
    )
    record, row = {"id": "a", "messages": make_messages("Who?", "", "Me.")}, {"id": "a", "tokens": 4, "right": 1}
    made = make_documents([record], [row | {"choices": ["You.", "Me."]}], spaced, Rendering(512))
    assert made.perplexity[0]["answer"] == " Me. <|im_end|>"
    assert (made.choice[0]["choices"], made.choice[0]["right"]) == ([" You. ", " Me. "], 1)


@pytest.fixture
def there(folder, monkeypatch) -> Path:
    """The folder as the working folder, and an environment that forgets."""
    monkeypatch.chdir(folder)
    for name in OFFLINE:
        monkeypatch.setenv(name, "0")
    return folder


def test_without_lm_eval_the_command_to_install_it_is_told(there, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lm_eval" else find(name))
    done = run_tunelock("harness")
    assert (
        done.exit_code == 1 and "`python -m pip install --no-deps --require-hashes -r locks/harness.txt`" in done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "base"], "models/base is missing; run `dvc repro"),
        (["--split", "golden"], "data/split/golden.jsonl is missing; run `dvc repro split`"),
    ],
)
def test_what_is_not_there_is_told(there, arguments, words):
    done = run_tunelock("harness", *arguments)
    assert done.exit_code == 1 and words in done.stderr


def test_a_split_without_rows_for_a_task_stops(there, tokenizer, tmp_path, monkeypatch):
    for name in ("params.yaml", "pyproject.toml", "models/merged"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(there / name)
    write_jsonl(tmp_path / "data/split/test.jsonl", [{"id": "a", "messages": [{"role": "text", "content": "Once."}]}])
    write_jsonl(tmp_path / "models/evaluation/tuned.jsonl", [{"id": "a", "split": "test", "loss": 1.0, "tokens": 2}])
    monkeypatch.chdir(tmp_path)
    done = run_tunelock("harness")
    assert done.exit_code == 1
    assert "no row for tunelock_choice and tunelock_perplexity; left out: 1 (raw text)" in done.stderr


def test_a_soft_prompt_stops(tmp_path):
    pytest.importorskip("lm_eval")
    (tmp_path / "adapter_config.json").touch()
    with pytest.raises(Stop, match="is a soft prompt with its base, which the harness cannot score"):
        harness.load(str(tmp_path), "float32", 1)


@pytest.fixture
def few_tasks(tmp_path, monkeypatch):
    """The harness with three tasks of its own instead of thousands; the data of one of them is on the hub."""
    tasks = pytest.importorskip("lm_eval.tasks")
    (tmp_path / "here.json").write_text('{"a": "One, two,", "b": " three"}\n')
    plain = "test_split: train, output_type: loglikelihood, doc_to_text: a, doc_to_target: b"
    here = f"dataset_path: json, dataset_kwargs: {{data_files: {tmp_path / 'here.json'}, cache_dir: {tmp_path}}}"
    for name, more in [
        ("here", here),
        ("far", "dataset_path: nobody/nothing"),
        ("unsafe", f"{here}, unsafe_code: true"),
    ]:
        (tmp_path / f"{name}.yaml").write_text(f"{{task: {name}, {more}, {plain}}}")
    found = functools.partial(tasks.TaskManager, include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr(tasks, "TaskManager", found)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_task_of_the_harness_is_run_as_the_harness_would(command, few_tasks):
    assert "|here |" in harness.score_theirs(command.model, harness.their_tasks(["here"]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("far", "the data of far cannot be had"),
        ("hellasvag", "lm-eval has no task 'hellasvag'"),
        ("unsafe", "unsafe runs code that the model writes"),
    ],
)
def test_a_task_that_cannot_be_had_stops_before_the_model_is_loaded(there, few_tasks, monkeypatch, name, words):
    monkeypatch.setattr(harness, "load", lambda *_: pytest.fail("the model was loaded"))
    done = run_tunelock("harness", "--task", name)
    assert done.exit_code == 1 and words in done.stderr
