"""Onlookers change nothing: a training has the same bits with bar, meter, trackers, doctor and forecasts as without.

So no stage needs to depend on `tunelock/watching`.
"""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from stages import train
from tunelock.run.params import Params, load_yaml
from tunelock.training import trainer

ROOT = Path(__file__).parents[2]


class Nobody(TrainerCallback):
    """An onlooker that does not look."""

    def __init__(self, *_args):
        pass

    def reading(self) -> dict[str, float]:
        """Nothing was measured."""
        return {}


@pytest.fixture
def project(tiny_model, records, tiny_params, tmp_path, monkeypatch):
    """What the stage reads; dropout is on, so that a random number drawn by an onlooker would show."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    Path("models").mkdir()
    Path("models/base").symlink_to(tiny_model)
    Path("data/split").mkdir(parents=True)
    for split, part in (("train", records), ("val", records[:4])):
        lines = [json.dumps(record | {"source": "made"}) for record in part]
        Path(f"data/split/{split}.jsonl").write_text("\n".join(lines))
    values = load_yaml(ROOT / "params.yaml") | tiny_params
    values |= {"sources": {}, "lora_dropout": 0.1, "eval_steps": 2, "dtype": "float32", "report_to": ["dvclive"]}
    Path("params.yaml").write_text(json.dumps(values))
    return values


def run_train(values: dict) -> dict[str, bytes]:
    """Run the stage as it is without the checks around it; its outs by name."""
    train.main.__wrapped__(Params("train", values), "fingerprint")
    files = [path for folder in ("models/adapter", "models/train") for path in sorted(Path(folder).rglob("*"))]
    outs = {str(path): path.read_bytes() for path in files}
    shutil.rmtree("models/adapter")
    shutil.rmtree("models/train")
    return outs


def send_away(monkeypatch) -> None:
    """Train without any onlooker."""
    monkeypatch.setattr(trainer, "Meter", Nobody)
    monkeypatch.setattr(trainer, "ProgressBar", Nobody)
    monkeypatch.setattr(train, "Doctor", Nobody)
    monkeypatch.setattr(train, "make_trackers", lambda *_: [])
    monkeypatch.setattr(train, "announce_cost", lambda *_: None)
    monkeypatch.setattr(train, "watch_memory", lambda *_: contextlib.nullcontext())


def test_a_training_has_the_same_bits_with_its_onlookers_and_without(project, monkeypatch, capfd):
    watched = run_train(project)
    assert "tokens to train on" in capfd.readouterr().err
    assert list(Path("runs").rglob("*tokens_per_second*"))  # what the meter measured reached the tracker
    send_away(monkeypatch)
    alone = run_train(project)
    assert {name for name, content in watched.items() if content != alone.get(name)} == set()
    assert watched.keys() == alone.keys() >= {"models/adapter/adapter_model.safetensors", "models/train/log.json"}


class Gambler(Nobody):
    """An onlooker that is none: it takes a random number at each step."""

    def on_step_begin(self, args, state, control, **kwargs):
        torch.rand(1)


def test_an_onlooker_that_draws_a_random_number_would_be_found(project, monkeypatch):
    send_away(monkeypatch)
    alone = run_train(project)
    monkeypatch.setattr(train, "Doctor", Gambler)
    assert run_train(project)["models/train/log.json"] != alone["models/train/log.json"]


def test_no_measurement_of_time_or_memory_gets_into_the_log(project):
    log = json.loads(run_train(project)["models/train/log.json"])
    keys = {key for entry in log for key in entry}
    assert keys <= {"step", "epoch", "loss", "grad_norm", "learning_rate", "penalty", "eval_loss"}
