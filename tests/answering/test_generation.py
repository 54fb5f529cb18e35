"""Answers of a batch are those of `model.generate` for each prompt alone; what is kept on disk changes nothing."""

import json
import os
import sys
import types

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tunelock.answering import decoding, kept_answers
from tunelock.answering.decoding import Answers, decode_greedily
from tunelock.answering.generation import generate_answers, group_by_window, summarise_answers
from tunelock.answering.kept_answers import KeptAnswers, drop_oldest_entries
from tunelock.answering.vllm_backend import generate_by_vllm
from tunelock.model.modeling import load_model
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.run.errors import Stop

NEW = 6
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2}  # fmt: skip


@pytest.fixture(scope="module")
def prompts(tokenizer, records):
    return [row["input_ids"][: row["prompt_length"]] for row in render_records(tokenizer, records, Rendering(256)).rows]


@pytest.fixture(scope="module")
def model(tiny_model):
    return talkative(load_model(tiny_model, "float32"))


def talkative(model):
    """A random model whose answers hang on the prompt: with its small weights it repeats one token for ever."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.model.layers.parameters():
            if weight.dim() == 2:
                weight.mul_(12)
        head = torch.randn(model.lm_head.weight.shape)
    model.lm_head.weight = torch.nn.Parameter(head.to(model.dtype))
    return model


def one_by_one(model, prompts, end, new=NEW):
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, eos_token_id=end,
            pad_token_id=end,
        )  # fmt: skip
        answers.append(out[0, len(prompt) :].tolist())
    return answers


@pytest.fixture(scope="module")
def expected(model, prompts):
    """The answers, and an end token that ends some of them early and others not."""
    free = one_by_one(model, prompts, end=0)
    assert len({tuple(answer) for answer in free}) > 6, "answers that do not hang on the prompt show nothing"
    end = free[4][2]
    answers = one_by_one(model, prompts, end)
    assert 1 < len(answers[4]) < NEW and max(map(len, answers)) == NEW
    return answers, end


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_answers_are_those_of_one_by_one_generation(model, prompts, expected, batch_size):
    answers, end = expected
    assert generate_answers(model, prompts, NEW, batch_size, (end,)) == answers


ARCHITECTURES = {
    "learnt positions": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    "sliding window": ("mistral", {"sliding_window": 6, **SMALL}),
    "a window in every other layer": ("gemma3_text", {"sliding_window": 6, "head_dim": 8, **SMALL}),
    "a state": ("mamba", {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}),
    "states and attention": ("lfm2", {"layer_types": ["conv", "full_attention"], **SMALL}),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures(name, monkeypatch):
    kind, options = ARCHITECTURES[name]
    monkeypatch.setattr(decoding, "LEAVE", 0.01)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=99, **options)).float().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(10)
    prompts = [torch.randint(3, 99, (length,)).tolist() for length in (3, 12, 7, 9, 1, 10)]
    free = one_by_one(model, prompts, 0, 8)
    assert len({tuple(answer) for answer in free}) > 4
    end = free[1][2]
    assert decode_greedily(model, prompts, 8, (end,)).tokens == one_by_one(model, prompts, end, 8)


def test_prompts_of_similar_length_are_read_together(model, monkeypatch):
    """Half of a batch would be padding otherwise."""
    torch.manual_seed(0)
    prompts = [torch.randint(3, 999, (length,)).tolist() for length in (30, 29, 9, 8, 3)]
    read, real = [], decoding._compute_last_logits
    monkeypatch.setattr(
        decoding, "_compute_last_logits", lambda *given: read.append(tuple(given[1]["input_ids"].shape)) or real(*given)
    )
    found = decode_greedily(model, prompts, NEW, (0,)).tokens
    assert read[:4] == [(2, 30), (2, 9), (1, 3), (5, 1)]
    assert found == one_by_one(model, prompts, 0)


def test_rows_that_are_done_leave_the_batch(model, prompts, expected, monkeypatch):
    monkeypatch.setattr(decoding, "LEAVE", 0.01)
    sizes, real = [], decoding._compute_last_logits
    monkeypatch.setattr(decoding, "_compute_last_logits", lambda *given: sizes.append(len(given[2])) or real(*given))
    answers, end = expected
    assert decode_greedily(model, prompts, NEW, (end,)).tokens == answers
    assert sizes[0] == len(prompts) and sizes[-1] < len(prompts)


def test_a_penalty_in_the_settings_of_a_model_changes_no_answer(model, prompts, monkeypatch):
    """Models that keep a state are run by `generate`, which would take it."""
    free = one_by_one(model, prompts[:1], end=0)
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 0.01)
    assert one_by_one(model, prompts[:1], end=0) != free
    assert decoding._decode_by_generate(model, prompts[0], NEW, (0,), lambda new, spared: None) == free[0]


def test_near_ties_are_answered_alone(model, prompts, expected, monkeypatch):
    """A wrong choice at a gap below the bound does not reach the answer."""
    answers, end = expected
    monkeypatch.setattr(decoding, "NEAR_TIE", 1e9)
    assert decode_greedily(model, prompts, NEW, (end,)) == Answers(answers, len(prompts))
    monkeypatch.setattr(decoding, "NEAR_TIE", 0.0)
    assert decode_greedily(model, prompts, NEW, (end,)).alone == 0


def test_a_near_tie_is_told_from_a_clear_choice():
    logits = torch.tensor([[0.0, 2.0, 1.9999], [0.0, 2.0, 1.0], [3.0, 3.0, 0.0]])
    chosen, near = decoding._pick_tokens(logits, 1e-3)
    assert (chosen.tolist(), near.tolist()) == ([1, 1, 0], [True, False, True])
    assert decoding._pick_tokens(logits, 0.0)[1].tolist() == [False] * 3


def test_coarse_dtypes_do_not_look_for_ties(tiny_model, prompts, monkeypatch):
    monkeypatch.setattr(decoding, "NEAR_TIE", 1e9)
    assert decode_greedily(load_model(tiny_model, "bfloat16"), prompts[:3], 2, (0,)).alone == 0


def test_progress_counts_every_token_that_can_come(model, prompts, expected):
    answers, end = expected
    counts = []
    decode_greedily(model, prompts, NEW, (end,), lambda new, spared: counts.append((new, spared)))
    assert sum(new for new, _ in counts) == sum(map(len, answers))
    assert sum(map(sum, counts)) == NEW * len(prompts)


def test_windows_keep_the_first_rows_together_however_many_follow():
    lengths = [3, 9, 5, 5, 1, 7, 2, 8, 4]
    assert list(group_by_window(lengths, 2)) == [[1, 2], [3, 0], [7, 5], [6, 4], [8]]
    assert list(group_by_window(lengths[:4], 2)) == [[1, 2], [3, 0]]


def test_the_summary_says_how_fast():
    said = "answers: 2 rows, 4 tokens, {}; 1 were written one by one, since two next words were nearly as likely"
    assert summarise_answers([[1, 2, 3], [4]], 8, 2.0, 1) == said.format("4 tokens/s")
    assert summarise_answers([[1, 2, 3], [4]], 0, 2.0, 1) == said.format("all kept from before")


class Counted:
    """Stands in for the work: gives these answers and counts how often it was asked."""

    def __init__(self, answers: Answers):
        self.answers, self.asked = answers, 0

    def __call__(self) -> Answers:
        self.asked += 1
        return self.answers


def test_kept_answers_are_those_computed_and_belong_to_prompts_and_setting(tmp_path):
    work, other = Counted(Answers([[1, 2], []], 1)), Counted(Answers([[9], [9]], 0))
    kept = KeptAnswers(tmp_path, {"model": "a"})
    assert kept([[5], [6]], work) == kept([[5], [6]], work) == Answers([[1, 2], []], 1)
    assert work.asked == 1
    assert (
        kept([[6], [5]], other).tokens == KeptAnswers(tmp_path, {"model": "b"})([[5], [6]], other).tokens == [[9]] * 2
    )
    assert other.asked == 2


@pytest.mark.parametrize(
    "damage", ["", "{", '"text"', '{"answers": {"tokens": [[1]], "alone": 0}, "sha256": "0"}', "cut"]
)
def test_damaged_entries_are_computed_again_and_mended(tmp_path, damage):
    kept, work = KeptAnswers(tmp_path, {}), Counted(Answers([[1, 2]], 0))
    kept([[5]], work)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_text()
    entry.write_text(whole[:-20] if damage == "cut" else damage)
    assert kept([[5]], work).tokens == [[1, 2]]
    assert (work.asked, entry.read_text()) == (2, whole)


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    work = Counted(Answers([[1]], 0))
    assert KeptAnswers(tmp_path / "file", {})([[5]], work).tokens == [[1]]


def test_the_entries_used_least_recently_go_first(tmp_path):
    for age, name in enumerate(("new", "old", "older")):
        (tmp_path / f"{name}.json").write_text("x" * 10)
        os.utime(tmp_path / f"{name}.json", (1000 - age, 1000 - age))
    drop_oldest_entries(tmp_path, 25)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["new", "old"]


def test_the_folder_stays_below_its_limit(tmp_path):
    kept = KeptAnswers(tmp_path, {}, limit=400)
    for number in range(9):
        kept([[number]], Counted(Answers([[number] * 20], 0)))
    assert 0 < sum(path.stat().st_size for path in tmp_path.iterdir()) <= 400


def test_an_interrupted_run_goes_on_and_ends_with_the_same_answers(model, prompts, expected, tmp_path, monkeypatch):
    answers, end = expected
    done = []

    def breaks(*given):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given)
        return decode_greedily(*given)

    kept = KeptAnswers(tmp_path, {})
    monkeypatch.setattr("tunelock.answering.generation.decode_greedily", breaks)
    with pytest.raises(KeyboardInterrupt):
        generate_answers(model, prompts, NEW, 3, (end,), kept)
    monkeypatch.setattr(
        "tunelock.answering.generation.decode_greedily", lambda *given: done.append(given) or decode_greedily(*given)
    )
    assert generate_answers(model, prompts, NEW, 3, (end,), kept) == answers
    assert len(done) == 4  # batches of three of twelve prompts, each computed once
    assert generate_answers(model, prompts, NEW, 3, (end,), kept) == answers and len(done) == 4


def test_another_model_or_setting_is_another_entry(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    kept = kept_answers.open_kept_answers(tiny_model, {"max_new_tokens": 3})
    assert kept.folder == tmp_path / ".ckpt" / "generations"
    assert kept.setting["model"]["model.safetensors"] and kept.setting["settings"] == {"max_new_tokens": 3}
    kept([[1]], Counted(Answers([[2]], 0)))
    (entry,) = kept.folder.glob("*.json")
    assert json.loads(entry.read_text())["answers"]["tokens"] == [[2]]


def stand_in(record: dict) -> types.ModuleType:
    """A module with the part of vLLM's interface that is used; it notes what it was given and answers with 7 8."""

    class LLM:
        def __init__(self, **options):
            record["engine"] = options

        def generate(self, prompts, how):
            record["prompts"] = prompts
            said = [([7, 8], "stop", 5), ([7, 8], "length", None), ([7, 2], "stop", 2), ([7, 2], "length", None)]
            outputs = [
                types.SimpleNamespace(token_ids=tokens, finish_reason=why, stop_reason=end) for tokens, why, end in said
            ]
            return [types.SimpleNamespace(outputs=[output]) for output in outputs]

    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, lambda **options: record.setdefault("how", options)
    return module


def test_vllm_gets_the_same_tokens_ends_and_length(tmp_path, monkeypatch):
    record = {}
    monkeypatch.setitem(sys.modules, "vllm", stand_in(record))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    answers = generate_by_vllm(tmp_path, "bfloat16", [[1], [1, 3], [4], [6]], 2, (2, 5))
    assert answers == [[7, 8, 5], [7, 8], [7, 2], [7, 2]]
    assert record["prompts"] == [{"prompt_token_ids": ids} for ids in ([1], [1, 3], [4], [6])]
    assert record["how"]["temperature"] == 0 and record["how"]["max_tokens"] == 2
    assert record["how"]["stop_token_ids"] == [2, 5]
    assert record["engine"]["model"] == str(tmp_path) and record["engine"]["trust_remote_code"] is False


def test_vllm_stops_plainly_where_it_cannot_run(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(Stop, match="vllm is not installed"):
        generate_by_vllm(tmp_path, "bfloat16", [[1]], 2, (2,))
    monkeypatch.setitem(sys.modules, "vllm", stand_in({}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Stop, match="needs a CUDA GPU"):
        generate_by_vllm(tmp_path, "bfloat16", [[1]], 2, (2,))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(Stop, match="soft prompt"):
        generate_by_vllm(tmp_path, "bfloat16", [[1]], 2, (2,))
