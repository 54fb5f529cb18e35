"""A training that is asked to stop saves, ends with 75, and goes on to the bits of one that was left in peace."""

import functools
import json
import signal
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM, SIGUSR1

import pytest
from transformers import TrainerCallback

from stages.train import train
from tests.training.test_train import L2, Scripted, make_trainer, nothing_slow, scripted, thawing  # noqa: F401
from tunelock.run.stop_requests import StoppedOnRequest, heed_stops
from tunelock.training.checkpoints import find_latest_whole, list_checkpoints
from tunelock.training.stopping import lacks_validation
from tunelock.training.trainer import Extras, ResponseTrainer

Make = Callable[[Path], ResponseTrainer]


class SignalAt(TrainerCallback):
    """Sends this process a signal in a step, before the optimiser makes it or when it is made."""

    def __init__(self, step: int, number: int = SIGUSR1, made: bool = False, times: int = 1):
        self.step, self.number, self.made, self.times = step, number, made, times

    def send(self):
        for _ in range(self.times):
            signal.raise_signal(self.number)

    def on_step_begin(self, args, state, control, **kwargs):
        if not self.made and state.global_step + 1 == self.step:
            self.send()

    def on_step_end(self, args, state, control, **kwargs):
        if self.made and state.global_step == self.step:
            self.send()


def in_validation(step: int) -> Callable:
    """Have a trainer get the signal between two batches of the validation after a step."""

    def prepare(trainer: ResponseTrainer) -> None:
        batches = trainer.get_eval_dataloader

        def interrupted(*args):
            for number, batch in enumerate(batches(*args)):
                if number == 1 and trainer.state.global_step == step:
                    signal.raise_signal(SIGUSR1)
                yield batch

        trainer.get_eval_dataloader = interrupted

    return prepare


def in_save(step: int) -> Callable:
    """Have a trainer get the signal while it writes the checkpoint of a step."""

    def prepare(trainer: ResponseTrainer) -> None:
        write = trainer._save_optimizer_and_scheduler

        def interrupted(folder):
            if trainer.state.global_step == step:
                signal.raise_signal(SIGUSR1)
            write(folder)

        trainer._save_optimizer_and_scheduler = interrupted

    return prepare


def validate_in_small_batches(trainer: ResponseTrainer) -> ResponseTrainer:
    """A trainer that takes several batches for a validation, so that there is something between them."""
    trainer.args.per_device_eval_batch_size = 1
    return trainer


def at(*args, **options) -> Callable:
    return lambda trainer: trainer.add_callback(SignalAt(*args, **options))


def stop_training(make: Make, root: Path, prepare: Callable) -> str:
    """Train until it stops on request; what it says."""
    trainer = validate_in_small_batches(make(root))
    prepare(trainer)
    with pytest.raises(StoppedOnRequest) as stopped, heed_stops():
        train(trainer, root)
    assert stopped.value.code == 75
    assert f"at step {max(list_checkpoints(root))} of" in stopped.value.sentence
    return stopped.value.sentence


def read_result(make: Make, root: Path) -> dict:
    """What a training hands on: the weights of the best checkpoint, the curves, the steps that stand out."""
    best, log, high = train(validate_in_small_batches(make(root)), root)
    weights = next(path for path in best.glob("*.safetensors"))
    return {"best": best.name, "weights": weights.read_bytes(), "log": json.dumps(log), "high": high}


def assert_same_bits(make: Make, tmp_path: Path, *stops: Callable) -> list[str]:
    """Train in peace, and with stops; both must give the same. The sentences of the stops."""
    wanted = read_result(make, tmp_path / "peace")
    sentences = [stop_training(make, tmp_path / "stopped", prepare) for prepare in stops]
    found = read_result(make, tmp_path / "stopped")
    assert {key for key in wanted if wanted[key] != found[key]} == set()
    assert list(list_checkpoints(tmp_path / "stopped")) == list(list_checkpoints(tmp_path / "peace"))
    return sentences


@pytest.fixture
def make(tiny_model, tokenizer, records) -> Make:
    """Two epochs of three steps with dropout; three batches in a validation, one after each second step."""
    return lambda root: make_trainer(tiny_model, tokenizer, records, root)


MOMENTS = {
    "in the first step": (at(1), 1),
    "between two validations": (at(3), 3),
    "as the optimiser has made a step": (at(3, made=True), 3),
    "before a validation": (at(2), 2),
    "within a validation": (in_validation(2), 2),
    "within the validation at the end of an epoch": (in_validation(6), 6),
    "within a save": (in_save(4), 4),
    "within the last save": (in_save(6), 6),
    "several times": (at(3, times=3), 3),
    "by SIGTERM": (at(3, SIGTERM), 3),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_wherever_the_request_falls_training_goes_on_to_the_same_bits(moment, make, tmp_path):
    prepare, step = MOMENTS[moment]
    (said,) = assert_same_bits(make, tmp_path, prepare)
    assert said == f"stopped on request at step {step} of 6; run the same command again, it goes on from there."


def test_training_that_is_stopped_again_and_again_gets_there_too(make, tmp_path):
    stops = (at(1), in_validation(2), at(3), in_validation(4), in_validation(4), at(5), in_validation(6))
    said = assert_same_bits(make, tmp_path, *stops)
    assert [int(sentence.split()[5]) for sentence in said] == [1, 2, 3, 4, 4, 5, 6]


def test_a_validation_that_is_not_waited_for_is_made_up_for(make, tmp_path):
    stop_training(make, tmp_path, in_validation(2))
    checkpoint = find_latest_whole(tmp_path)
    assert checkpoint.name == "checkpoint-2" and lacks_validation(checkpoint)
    stop_training(make, tmp_path, at(3))
    assert not lacks_validation(checkpoint)
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "eval_loss" in entry] == [2]


@pytest.mark.parametrize("stop", [at(3), in_validation(4)], ids=["in a step", "in the validation that ends the run"])
def test_patience_runs_out_at_the_same_step(stop, tiny_model, tokenizer, records, tmp_path):
    def make(root: Path) -> Scripted:
        return scripted(tiny_model, tokenizer, records, root, patience=2)

    assert_same_bits(make, tmp_path, stop)


def test_packed_and_weighed_rows_with_a_penalty_go_on_to_the_same_bits(tiny_model, tokenizer, records, tmp_path):
    extras = Extras(packing=True, penalty=functools.partial(L2, regularization_weight=1.0))
    how = {"extras": extras, "batch": 1, "gradient_accumulation_steps": 2}
    how["weight_of"] = lambda row: len(row["input_ids"]) / 40

    def make(root: Path) -> ResponseTrainer:
        return make_trainer(tiny_model, tokenizer, records, root, **how)

    assert_same_bits(make, tmp_path, at(1), in_validation(2), at(5))


@pytest.mark.parametrize("stop", [at(3), in_validation(4)], ids=["before layers thaw", "after"])
def test_full_tuning_goes_on_to_the_same_bits(stop, tiny_model, tokenizer, records, tmp_path):
    how = {"method": "full", "extras": thawing}

    def make(root: Path) -> ResponseTrainer:
        return make_trainer(tiny_model, tokenizer, records, root, **how)

    assert_same_bits(make, tmp_path, stop)


def test_the_extra_checkpoint_takes_no_place_of_the_others(tiny_model, tokenizer, records, tmp_path):
    """The best is that of step 2; with a limit of 3 the last two that are due stay beside it."""

    def make(root: Path) -> Scripted:
        options = {"max_steps": 10, "eval_steps": 2, "save_steps": 2, "save_total_limit": 3}
        return scripted(tiny_model, tokenizer, records, root, **options)

    Scripted.script, before = (9.0, 1.0, *[5.0] * 8), Scripted.script
    try:
        for step, kept in (5, [2, 4, 5]), (7, [2, 6, 7]), (9, [2, 8, 9]):
            stop_training(make, tmp_path, at(step))
            assert list(list_checkpoints(tmp_path)) == kept
        train(make(tmp_path), tmp_path)
        assert list(list_checkpoints(tmp_path)) == [2, 8, 10]
    finally:
        Scripted.script = before


def test_a_training_that_saves_nothing_ends_at_once(tiny_model, tokenizer, records, tmp_path):
    trainer = make_trainer(tiny_model, tokenizer, records, tmp_path, save_strategy="no", eval_strategy="no")
    trainer.add_callback(SignalAt(2))
    with pytest.raises(StoppedOnRequest) as stopped, heed_stops():
        trainer.train()
    assert trainer.state.global_step == 1
    assert stopped.value.sentence == "stopped on request; run the same command again."
