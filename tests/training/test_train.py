"""Training: deterministic batches, whole checkpoints, loud NaNs, real adapters for each method."""

import functools
import gc
import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from stages.train import train, weigh_rows
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import load_model, make_deterministic
from tunelock.model.provenance import check_base, record_base
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, write_json
from tunelock.run.quiet import silence_known_noise
from tunelock.training.batches import LengthGroupedSampler
from tunelock.training.curves import count_stale_validations, extract_curve, find_best_step
from tunelock.training.freezing import freeze_parts
from tunelock.training.optimisation import build_sft_config
from tunelock.training.penalties.all_penalties import build_penalty
from tunelock.training.trainer import PLAIN, Extras, ResponseTrainer

ROOT = Path(__file__).parents[2]
LORA = {"lora_r": 4, "lora_alpha": None, "lora_dropout": 0.1, "lora_target_modules": "all-linear"}


@pytest.fixture(scope="module", autouse=True)
def nothing_slow():
    """Leave out what takes most of the time of so short runs and is tested elsewhere: reading the tokenizer again at
    each load, waiting for the disk, and collecting the garbage of all imported modules at the start of each training.
    """
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunelock.model.modeling.check_vocabulary", lambda model, folder: None)
        patch.setattr("os.fsync", lambda handle: None)
        yield
    gc.unfreeze()


def make_trainer(
    tiny_model, tokenizer, records, folder, method="lora", dtype="bfloat16", batch=4, extras=PLAIN, dropout=0.1,
    weight_of=None, kind=ResponseTrainer, **options,
) -> ResponseTrainer:  # fmt: skip
    """A trainer as `stages.train` makes it; for `full`, `extras` is a function of the model."""
    make_deterministic(0, 1)
    rows = render_records(tokenizer, records, Rendering(256)).rows
    weighed = [row | {"weight": weight_of(row)} for row in rows] if weight_of else rows
    model = load_model(tiny_model, METHODS[method].weights_dtype(dtype), METHODS[method].quantization(dtype, True))
    extras = extras(model) if method == "full" else extras
    options = {
        "learning_rate": 1e-2,
        "max_steps": 6,
        "eval_steps": 2,
        "save_steps": 2,
        "eval_strategy": "steps",
    } | options
    options = {"gradient_checkpointing": False, "max_length": 256, "seed": 0} | options
    config = build_sft_config(folder, dtype, batch, **options)
    lora = METHODS[method].peft_config(tiny_model, MethodSettings(**LORA | {"lora_dropout": dropout}))
    return kind(model, tokenizer, config, lora, weighed, rows[:3], extras)


L2 = functools.partial(build_penalty, regularization="l2", rows=[], batch_size=4, seed=0)  # its weight is to be given


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
    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path, method, max_steps=20, save_strategy="no")
    assert all("lora_" in name for name in weights(trainer))
    trainer.train()
    losses = [entry["eval_loss"] for entry in extract_curve(trainer.state.log_history) if "eval_loss" in entry]
    assert losses[-1] < losses[0] - 0.2
    quantized = {type(module).__name__ for module in trainer.model.modules()} & {"Linear4bit"}
    assert bool(quantized) == (method == "qlora")


@pytest.mark.parametrize("with_extras", [False, True])
def test_a_resumed_run_ends_with_the_bits_and_the_curve_of_an_uninterrupted_one(
    with_extras, tiny_model, tokenizer, records, tmp_path
):
    how = {}
    if with_extras:
        how["extras"] = Extras(packing=True, penalty=functools.partial(L2, regularization_weight=1.0))
        how |= {"batch": 1, "gradient_accumulation_steps": 2, "weight_of": lambda row: len(row["input_ids"]) / 40}
    whole = make_trainer(tiny_model, tokenizer, records, tmp_path / "a", **how)
    whole.train()
    first = make_trainer(tiny_model, tokenizer, records, tmp_path / "b", **how)
    first.add_callback(stop_after(4))
    first.train()
    second = make_trainer(tiny_model, tokenizer, records, tmp_path / "b", **how)
    second.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-4"))
    assert second.state.global_step == 6
    assert all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(whole).items())
    assert extract_curve(second.state.log_history) == extract_curve(whole.state.log_history)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_warns_of_nothing(tiny_model, tokenizer, records, tmp_path, checkpointing):
    """`-W error` would not do: libraries catch and hide what they raise themselves."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)  # Python shows none from a library
        silence_known_noise()
        how = {"max_steps": 2, "gradient_checkpointing": checkpointing}
        make_trainer(tiny_model, tokenizer, records, tmp_path, **how).train()
    assert [str(warning.message) for warning in seen] == []


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
    class StopAfter(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= step

    return StopAfter()


def test_checkpoints_keep_the_best_and_the_last_each_with_its_manifest(tiny_model, tokenizer, records, tmp_path):
    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path, max_steps=8)
    trainer.train()
    kept = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert kept == {f"checkpoint-{find_best_step(trainer.state.log_history)}", "checkpoint-8"}
    for name in kept:
        files = json.loads((tmp_path / name / "manifest.json").read_text())["files"]
        assert {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"} <= files.keys()


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
    from tunelock.answering.scoring import score_rows

    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path)
    rows = render_records(tokenizer, records[:3], Rendering(256)).rows
    found = trainer.evaluate()["eval_loss"]
    scores = score_rows(trainer.model.get_base_model(), rows, 4)
    assert found == pytest.approx(sum(one.loss for one in scores) / sum(one.tokens for one in scores), rel=2e-2)


def test_best_checkpoint_is_the_earliest_of_the_lowest():
    history = [
        {"eval_loss": 2.0, "step": 1},
        {"eval_loss": 1.0, "step": 2},
        {"eval_loss": 1.0, "step": 3},
        {"loss": 0.1},
    ]
    assert find_best_step(history) == 2 and find_best_step([{"loss": 1.0, "step": 1}]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_r": 65}, r"lora_r is 65, but '.*' of the base model has rank 32"),
        ({"lora_target_modules": ["q_proj", "qproj"]}, r"names \['qproj'\], the model .* has .*'q_proj'"),
    ],
)
def test_lora_settings_that_do_not_fit_the_model_stop(tiny_model, change, message):
    with pytest.raises(Stop, match=message):
        METHODS["lora"].peft_config(tiny_model, MethodSettings(**LORA | change))


def test_null_alpha_is_twice_the_rank(tiny_model):
    assert METHODS["lora"].peft_config(tiny_model, MethodSettings(**LORA)).lora_alpha == 8


def test_an_adapter_is_bound_to_its_base(tiny_model, tmp_path):
    adapter, other = tmp_path / "adapter", tmp_path / "other"
    adapter.mkdir()
    write_json(adapter / "adapter_config.json", {"target_modules": ["b", "a"], "exclude_modules": ["d", "c"]})
    record_base(adapter, tiny_model, "org/model", "0" * 40, "lora")
    config = read_json(adapter / "adapter_config.json")
    assert (config["target_modules"], config["exclude_modules"]) == (["a", "b"], ["c", "d"])  # the same bytes each time
    assert check_base(adapter, tiny_model)["base_model"] == "org/model"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"of the same shape")
    with pytest.raises(Stop, match="was trained on a base with sha256"):
        check_base(adapter, other)


def test_several_processes_are_refused(tiny_model, tokenizer, records, tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    with pytest.raises(Stop, match="one process only"):
        make_trainer(tiny_model, tokenizer, records, tmp_path)


# ---- weights, accumulation, penalty --------------------------------------------------------------------------------


def test_task_weights_are_one_on_average_and_keep_their_ratio():
    rows = [{"id": str(number), "task": ("explain", "detect", "classify")[number % 3]} for number in range(10)]
    weighed = weigh_rows(rows, {"explain": 3.0, "detect": 0.5})
    assert [{key: row[key] for key in ("id", "task")} for row in weighed] == rows
    assert sum(row["weight"] for row in weighed) == pytest.approx(len(rows))
    explain, detect, classify = (row["weight"] for row in weighed[:3])
    assert explain == pytest.approx(3 * classify) and detect == pytest.approx(0.5 * classify)
    assert weigh_rows(rows, None) == rows and weigh_rows(rows, {}) == rows


def test_a_task_weight_for_no_row_stops():
    with pytest.raises(Stop, match="task_loss_weights: no row of train has the task 'explian'"):
        weigh_rows([{"task": "explain"}], {"explain": 1.0, "explian": 2.0})


@pytest.mark.parametrize("with_extras", [False, True])
def test_small_batches_added_up_make_the_step_of_a_big_one(with_extras, tiny_model, tokenizer, records, tmp_path):
    how = {"dtype": "float32", "dropout": 0.0, "max_steps": 2, "eval_strategy": "no", "save_strategy": "no"}
    if with_extras:
        how["extras"] = Extras(penalty=functools.partial(L2, regularization_weight=10.0))
        how["weight_of"] = lambda row: len(row["input_ids"]) / 40
    ends = []
    for batch in (4, 2, 1):  # Adam divides gradients by their size: a large epsilon keeps a step as even as they are
        trainer = make_trainer(
            tiny_model, tokenizer, records[:4], tmp_path, batch=batch, gradient_accumulation_steps=4 // batch,
            adam_epsilon=1e-2, lr_scheduler_type="constant", learning_rate=0.5, **how,
        )  # fmt: skip
        before = weights(trainer)
        trainer.train()
        ends.append((weights(trainer), [row for row in extract_curve(trainer.state.log_history) if "loss" in row]))
    (wanted, log), *others = ends
    assert len(log) == 2 and all(any((wanted[name] != before[name]).flatten()) for name in wanted)
    if with_extras:
        assert log[1]["penalty"] > 0
    for found, other_log in others:
        for name, tensor in wanted.items():
            assert (found[name] - tensor).norm() < 1e-4 * (tensor - before[name]).norm(), name
        for mine, other in zip(log, other_log, strict=True):
            assert mine == pytest.approx(other, rel=1e-5)


def test_the_log_has_the_penalty_beside_the_loss(tiny_model, tokenizer, records, tmp_path):
    logs = []
    for weight in (None, 1e4):
        extras = Extras(penalty=functools.partial(L2, regularization_weight=weight)) if weight else PLAIN
        trainer = make_trainer(tiny_model, tokenizer, records, tmp_path, extras=extras, max_steps=2, save_strategy="no")
        trainer.train()
        logs.append(extract_curve(trainer.state.log_history))
    (first, second, validation), (pulled_first, pulled_second, _) = logs
    assert "penalty" not in first and "penalty" not in validation
    assert pulled_first["penalty"] == 0 and pulled_first["loss"] == first["loss"]  # LoRA starts at the base
    assert pulled_second["penalty"] > pulled_second["loss"] == second["loss"]  # by then one step has moved it
    assert pulled_second["grad_norm"] > 2 * second["grad_norm"]


# ---- schedules and optimisers --------------------------------------------------------------------------------------


def rates(tiny_model, tokenizer, records, folder, steps=20, **options) -> list[float]:
    """The learning rate of each step, and last the one with which a further step would be made."""
    trainer = make_trainer(tiny_model, tokenizer, records[:1], folder, max_steps=steps, learning_rate=1e-2, **options)
    trainer.create_optimizer_and_scheduler(steps)
    found = []
    for _ in range(steps + 1):
        found.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return found


@pytest.mark.parametrize(("warmup_steps", "steps"), [(0, 0), (0.1, 2), (0.25, 5), (5, 5), (1, 1)])
def test_warmup_is_a_share_of_the_steps_or_a_number_of_them(
    warmup_steps, steps, tiny_model, tokenizer, records, tmp_path
):
    options = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": warmup_steps}
    found = rates(tiny_model, tokenizer, records, tmp_path, **options)
    assert found == pytest.approx([1e-2 * min(1, step / max(1, steps)) for step in range(21)] if steps else [1e-2] * 21)


@pytest.mark.parametrize("min_lr_rate", [0.25, 0.0])
def test_a_cosine_with_a_minimum_ends_there(min_lr_rate, tiny_model, tokenizer, records, tmp_path):
    options = {"lr_scheduler_type": "cosine_with_min_lr", "min_lr_rate": min_lr_rate, "warmup_steps": 0.1}
    found = rates(tiny_model, tokenizer, records, tmp_path, **options)
    assert max(found) == found[2] == 1e-2
    assert found[2:] == sorted(found[2:], reverse=True)
    assert found[-1] == pytest.approx(min_lr_rate * 1e-2, abs=1e-9)


def test_other_schedules_have_no_minimum(tiny_model, tokenizer, records, tmp_path):
    options = {"lr_scheduler_type": "cosine", "min_lr_rate": 0.25, "warmup_steps": 0}
    assert rates(tiny_model, tokenizer, records, tmp_path, **options)[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("optim", ["adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"])
def test_optimisers_of_cuda_stop_without_it(optim, tmp_path, monkeypatch):
    monkeypatch.setattr("tunelock.training.optimisation.find_device", lambda: "cpu")
    with pytest.raises(Stop, match=f"optim: {optim} .* set adamw_torch"):
        build_sft_config(tmp_path, "float32", 4, gradient_checkpointing=False, optim=optim)
    found = build_sft_config(tmp_path, "float32", 4, gradient_checkpointing=False, optim="adamw_torch")
    assert found.optim == "adamw_torch"


# ---- the end of a run ----------------------------------------------------------------------------------------------


class Scripted(ResponseTrainer):
    """A trainer whose validation losses are given: the best is that of step 2, and again that of step 5."""

    script = (5.0, 4.0, 4.5, 4.2, 4.0, 3.0, 3.5)

    def log(self, logs, start_time=None):
        given = {"eval_loss": self.script[self.state.global_step - 1]} if "eval_loss" in logs else {}
        super().log(logs | given, start_time)


def scripted(tiny_model, tokenizer, records, folder, patience=None, **options) -> Scripted:
    options = {"max_steps": 7, "eval_steps": 1, "save_steps": 1, "save_total_limit": 2} | options
    return make_trainer(
        tiny_model, tokenizer, records[:4], folder, extras=Extras(patience=patience), kind=Scripted, **options
    )


def test_stale_counts_the_validations_since_the_best():
    history = [{"eval_loss": loss, "step": step} for step, loss in enumerate(Scripted.script, 1)]
    assert [count_stale_validations(history[:length]) for length in range(8)] == [0, 0, 0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize(("patience", "last", "best"), [(1, 3, 2), (3, 5, 2), (None, 7, 6)])
def test_training_stops_when_patience_runs_out(patience, last, best, tiny_model, tokenizer, records, tmp_path):
    trainer = scripted(tiny_model, tokenizer, records, tmp_path, patience)
    folder, log, _ = train(trainer, tmp_path)
    assert trainer.state.global_step == log[-1]["step"] == last
    assert folder == tmp_path / f"checkpoint-{best}" and (folder / "adapter_model.safetensors").exists()


def test_a_resumed_run_stops_early_at_the_same_step(tiny_model, tokenizer, records, tmp_path):
    best, log, _ = train(scripted(tiny_model, tokenizer, records, tmp_path / "a", patience=2), tmp_path / "a")
    assert log[-1]["step"] == 4 and best.name == "checkpoint-2"
    bits = (best / "adapter_model.safetensors").read_bytes()
    first = scripted(tiny_model, tokenizer, records, tmp_path / "b", patience=2)
    first.add_callback(stop_after(3))
    first.train()
    for _ in range(2):  # the second time as if killed with the last checkpoint written and nothing handed on
        again = scripted(tiny_model, tokenizer, records, tmp_path / "b", patience=2)
        found, resumed_log, _ = train(again, tmp_path / "b")
        assert resumed_log == log and found.name == best.name
        assert (found / "adapter_model.safetensors").read_bytes() == bits


def test_a_run_of_half_an_epoch_that_is_done_makes_no_further_step(tiny_model, tokenizer, records, tmp_path):
    def run():
        how = {"max_steps": -1, "num_train_epochs": 0.5, "batch": 2, "eval_steps": 1, "save_steps": 1}
        return train(make_trainer(tiny_model, tokenizer, records, tmp_path, **how), tmp_path)

    best, log, _ = run()
    bits = (best / "adapter_model.safetensors").read_bytes()
    again, log_again, _ = run()  # as after a kill between the last checkpoint and the hand-over
    assert log[-1]["step"] == 3 and log_again == log
    assert again == best and (again / "adapter_model.safetensors").read_bytes() == bits


@pytest.mark.parametrize(("limit", "at_step_5", "at_the_end"), [(2, {2, 5}, {6, 7}), (4, {2, 3, 4, 5}, {5, 6, 7})])
def test_the_best_checkpoint_and_the_last_ones_are_kept(
    limit, at_step_5, at_the_end, tiny_model, tokenizer, records, tmp_path
):
    kept = {}

    class Look(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            kept[state.global_step] = {int(path.name.removeprefix("checkpoint-")) for path in tmp_path.iterdir()}

    trainer = scripted(tiny_model, tokenizer, records, tmp_path, save_total_limit=limit)
    trainer.add_callback(Look())
    trainer.train()
    assert kept[5] == at_step_5 and kept[7] == at_the_end  # the best is that of step 2, and later that of step 6
    assert all(len(steps) <= limit for steps in kept.values())


# ---- full tuning ---------------------------------------------------------------------------------------------------


def thawing(model) -> Extras:
    """The final norm is trained from the start, the upper layer from the fourth of six steps on."""
    schedule = [{"at": 0.5, "layers": 1, "learning_rate": 1e-3}]
    return Extras(unfreezing=freeze_parts(model, freeze_embeddings=True, freeze_layers=2, unfreeze_schedule=schedule))


def test_full_tuning_thaws_on_schedule_and_resumes_to_the_same_bits(tiny_model, tokenizer, records, tmp_path):
    how = {"method": "full", "extras": thawing, "lr_scheduler_type": "constant", "learning_rate": 1e-2}
    before = load_model(tiny_model, "float32").state_dict()

    def moved(model) -> set[str]:
        return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}

    whole = make_trainer(tiny_model, tokenizer, records, tmp_path / "a", **how)
    whole.train()
    upper = {name for name in before if name.startswith("model.layers.1.")}
    assert moved(whole.model) == upper | {"model.norm.weight"}
    assert [group["lr"] for group in whole.optimizer.param_groups if group["params"]] == [1e-2, 1e-3, 1e-3]
    losses = [row["eval_loss"] for row in extract_curve(whole.state.log_history) if "eval_loss" in row]
    assert losses == sorted(losses, reverse=True)
    for step, trained in (2, set()), (4, upper):
        first = make_trainer(tiny_model, tokenizer, records, tmp_path / f"b{step}", **how)
        first.add_callback(stop_after(step))
        first.train()
        assert moved(first.model) == trained | {"model.norm.weight"}
        second = make_trainer(tiny_model, tokenizer, records, tmp_path / f"b{step}", **how)
        second.train(resume_from_checkpoint=str(tmp_path / f"b{step}" / f"checkpoint-{step}"))
        end = second.model.state_dict()
        assert all(torch.equal(value, end[name]) for name, value in whole.model.state_dict().items())
        assert extract_curve(second.state.log_history) == extract_curve(whole.state.log_history)
