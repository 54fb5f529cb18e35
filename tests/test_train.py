"""Training: deterministic batches, whole checkpoints, loud NaNs, real adapters for each method."""

import json
import math
import re

import pytest
import torch

from stages.lib.adapter import lora_config
from stages.lib.errors import Stop
from stages.lib.modeling import load_model, settle
from stages.lib.progress import announce_cost
from stages.lib.provenance import check_base, record_base
from stages.lib.rendering import fit
from stages.lib.sampling import LengthGroupedSampler
from stages.lib.trainer import ResponseTrainer, best_step, curve, sft_config

LORA = {"lora_r": 4, "lora_alpha": None, "lora_dropout": 0.1, "lora_target_modules": "all-linear"}


def make_trainer(tiny_model, tokenizer, records, folder, method="lora", **options) -> ResponseTrainer:
    settle(0, 2)
    rows, _ = fit(tokenizer, records, None, 256)
    model = load_model(tiny_model, "bfloat16", quantize=method == "qlora")
    options = {
        "learning_rate": 1e-2,
        "max_steps": 6,
        "eval_steps": 2,
        "save_steps": 2,
        "eval_strategy": "steps",
    } | options
    options = {"gradient_checkpointing": False, "max_length": 256, "seed": 0} | options
    config = sft_config(folder, "bfloat16", 0.0, 4, **options)
    return ResponseTrainer(model, tokenizer, config, lora_config(tiny_model, **LORA), rows, rows[:3])


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}


def test_batches_hold_rows_of_similar_length_in_an_order_that_follows_from_seed_and_epoch():
    lengths = [(7 * i) % 100 + 10 for i in range(200)]
    sampler = LengthGroupedSampler(lengths, 8, seed=1)
    order = list(sampler)
    assert sorted(order) == list(range(200)) and list(LengthGroupedSampler(lengths, 8, seed=1)) == order
    padding = sum(
        max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch)
        for batch in (order[start : start + 8] for start in range(0, 200, 8))
    )
    assert padding < 0.15 * sum(lengths)
    assert max(lengths) in [lengths[i] for i in order[:8]]
    starts = [lengths[order[start]] for start in range(0, 200, 8)]
    assert starts != sorted(starts) and starts != sorted(starts, reverse=True)
    sampler.set_epoch(1)
    assert list(sampler) != order
    assert list(LengthGroupedSampler(lengths, 8, seed=2)) != order


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_each_method_trains_its_adapter_alone_and_the_loss_falls(method, tiny_model, tokenizer, records, tmp_path):
    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path, method, max_steps=20)
    assert all("lora_" in name for name in weights(trainer))
    trainer.train()
    losses = [entry["eval_loss"] for entry in curve(trainer.state.log_history) if "eval_loss" in entry]
    assert losses[-1] < losses[0] - 0.2
    quantized = {type(module).__name__ for module in trainer.model.modules()} & {"Linear4bit"}
    assert bool(quantized) == (method == "qlora")


def test_a_resumed_run_ends_with_the_bits_and_the_curve_of_an_uninterrupted_one(
    tiny_model, tokenizer, records, tmp_path
):
    whole = make_trainer(tiny_model, tokenizer, records, tmp_path / "a")
    whole.train()
    first = make_trainer(tiny_model, tokenizer, records, tmp_path / "b")
    first.add_callback(stop_after(4))
    first.train()
    second = make_trainer(tiny_model, tokenizer, records, tmp_path / "b")
    second.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-4"))
    assert second.state.global_step == 6
    assert all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(whole).items())
    assert curve(second.state.log_history) == curve(whole.state.log_history)


def test_gradient_checkpointing_changes_memory_and_not_the_result(tiny_model, tokenizer, records, tmp_path):
    ends = []
    for checkpointing in (False, True):
        trainer = make_trainer(
            tiny_model, tokenizer, records, tmp_path, max_steps=1, gradient_checkpointing=checkpointing
        )
        trainer.train()
        ends.append(weights(trainer))
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name])


def stop_after(step: int):
    from transformers import TrainerCallback

    class StopAfter(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= step

    return StopAfter()


def test_checkpoints_keep_the_best_and_the_last_each_with_its_manifest(tiny_model, tokenizer, records, tmp_path):
    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path, max_steps=8)
    trainer.train()
    kept = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert kept == {f"checkpoint-{best_step(trainer.state.log_history)}", "checkpoint-8"}
    for name in kept:
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"} <= manifest.keys()


def test_a_nan_loss_stops_the_run_and_names_the_rows(tiny_model, tokenizer, records, tmp_path):
    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path)
    with torch.no_grad():
        trainer.model.get_input_embeddings().weight.fill_(math.nan)
    with pytest.raises(Stop, match=r"loss is nan at step 1 on rows row-\d+, row-\d+"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_an_infinite_gradient_stops_the_run_before_it_reaches_a_checkpoint(tiny_model, tokenizer, records, tmp_path):
    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path, save_steps=1, eval_steps=1)
    broken = next(p for p in trainer.model.parameters() if p.requires_grad)
    broken.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
    with pytest.raises(Stop, match=r"gradient norm is (inf|nan) at step 1 on rows"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_validation_loss_is_the_mean_over_tokens(tiny_model, tokenizer, records, tmp_path):
    from stages.lib.generation import score

    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path)
    rows, _ = fit(tokenizer, records[:3], None, 256)
    found = trainer.evaluate()["eval_loss"]
    scores = score(trainer.model.get_base_model(), rows, 4)
    assert found == pytest.approx(sum(loss for loss, _ in scores) / sum(n for _, n in scores), rel=2e-2)


def test_best_checkpoint_is_the_earliest_of_the_lowest():
    history = [
        {"eval_loss": 2.0, "step": 1},
        {"eval_loss": 1.0, "step": 2},
        {"eval_loss": 1.0, "step": 3},
        {"loss": 0.1},
    ]
    assert best_step(history) == 2 and best_step([{"loss": 1.0, "step": 1}]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_r": 65}, r"lora_r is 65, but '.*' of the base model has rank 32"),
        ({"lora_target_modules": ["q_proj", "qproj"]}, r"names \['qproj'\], the model .* has .*'q_proj'"),
    ],
)
def test_lora_settings_that_do_not_fit_the_model_stop(tiny_model, change, message):
    with pytest.raises(Stop, match=message):
        lora_config(tiny_model, **{**LORA, **change})


def test_null_alpha_is_twice_the_rank(tiny_model):
    assert lora_config(tiny_model, **LORA).lora_alpha == 8


def test_an_adapter_is_bound_to_its_base(tiny_model, tmp_path):
    adapter, other = tmp_path / "adapter", tmp_path / "other"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"target_modules": ["b", "a"]}')
    record_base(adapter, tiny_model, "org/model", "lora")
    assert check_base(adapter, tiny_model)["base_model"] == "org/model"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"of the same shape")
    with pytest.raises(Stop, match="was trained on a base with sha256"):
        check_base(adapter, other)


def test_training_says_what_it_will_cost_before_it_starts(capsys):
    announce_cost([{"input_ids": [1] * 500}] * 4, epochs=2, parameters=1_000_000)
    assert re.search(
        r"4 rows, 4000 tokens to train on; about 0 min at this machine's \d+ GFLOP/s", capsys.readouterr().err
    )


def test_several_processes_are_refused(tiny_model, tokenizer, records, tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    with pytest.raises(Stop, match="one process only"):
        make_trainer(tiny_model, tokenizer, records, tmp_path)
