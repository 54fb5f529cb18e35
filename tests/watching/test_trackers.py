"""Trackers in their offline modes: every step once, also after kill -9; no secret leaves; training's bits stay."""

import csv
import importlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from transformers import TrainerState

from tunelock.privacy.redaction import HIDDEN, is_secret_name, redact_settings
from tunelock.remote.there.installing import read_lock_pins
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.schema.params_schema import Schema
from tunelock.watching import recorders, trackers
from tunelock.watching.recorders import RECORDERS
from tunelock.watching.trackers import TRACKER_PACKAGES, make_trackers, pick_numbers

FORMED = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
FROM_ENVIRONMENT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = {
    "lora_r": 16,
    "system_prompt": None,
    "sources": {"faq": {"path": f"https://host/x?key={FORMED}", "licence": "a-licence-to-look-for"}},
    "hub_token": "short-secret",
    "note": f"uses {FROM_ENVIRONMENT}",
}


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """The environment of somebody who sets nothing but has keys, in a folder of its own."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "DVC_", "DVCLIVE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", FROM_ENVIRONMENT)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", FROM_ENVIRONMENT)
    monkeypatch.setattr(sys, "argv", ["train", f"--password={FROM_ENVIRONMENT}"])
    monkeypatch.chdir(tmp_path)


def entry(step: int) -> dict[str, float]:
    return {"loss": 3.0 / step, "learning_rate": 1e-3, "grad_norm": 1.5, "tokens_per_second": 400.5, "memory_gb": 3.25}


def begun(name: str, folder: Path, after: int = 0) -> tuple[trackers.Tracking, TrainerState]:
    """A tracker at the start of a training that is resumed from the checkpoint of step `after`."""
    state = TrainerState(global_step=after, log_history=[{**entry(step), "step": step} for step in range(1, after + 1)])
    (tracking,) = make_trackers([name], folder, "f00dcafe", SETTINGS)
    tracking.on_train_begin(None, state, None)
    return tracking, state


def train(tracking, state: TrainerState, to: int) -> None:
    for step in range(state.global_step + 1, to + 1):
        state.global_step = step
        tracking.on_log(None, state, None, entry(step))
        if step == 6:
            tracking.on_log(None, state, None, {"eval_loss": 2.5, "memory_gb": 3.25})


def read_dvclive(folder: Path) -> dict[str, list]:
    files = (folder / "f00dcafe/dvclive/plots/metrics").glob("*.tsv")
    rows = {file.stem: list(csv.DictReader(file.open(), delimiter="\t")) for file in files}
    return {name: [(int(row["step"]), float(row[name])) for row in found] for name, found in rows.items()}


def read_tensorboard(folder: Path) -> dict[str, list]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "f00dcafe/tensorboard")).Reload()
    return {name: [(point.step, point.value) for point in events.Scalars(name)] for name in events.Tags()["scalars"]}


def read_wandb(folder: Path) -> dict[str, list]:
    """W&B's offline file: protobuf records in blocks of 32 KiB, as in LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = (folder / "f00dcafe/wandb").glob("offline-run-*/*.wandb")
    data, at, whole, found = file.read_bytes(), 7, b"", {}
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a full record, or the last piece of one
            record, whole = Record.FromString(whole), b""
            for item in record.history.item:
                name = item.key or item.nested_key[0]
                found.setdefault(name, []).append((record.history.step.num, json.loads(item.value_json)))
    return {name: points for name, points in found.items() if not name.startswith("_")}


def read_mlflow(folder: Path) -> dict[str, list]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("tunelock").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["lora_r"] == "16"
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((point.step, point.value) for point in points) for name, points in history.items()}


READERS = {"dvclive": read_dvclive, "tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow}


def randomness() -> tuple:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("name", RECORDERS)
def test_a_killed_and_resumed_run_has_every_step_once_and_no_secret(name, tmp_path):
    """Killed at step 5, resumed from the checkpoint of step 3: steps 4 and 5 are trained twice."""
    folder = tmp_path / "runs"
    for module in TRACKER_PACKAGES[name].values():
        importlib.import_module(module)  # once for both processes
    child = os.fork()
    if child == 0:
        train(*begun(name, folder), to=5)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    before = randomness()
    tracking, state = begun(name, folder, after=3)
    train(tracking, state, to=8)
    tracking.on_train_end(None, state, None)
    assert randomness() == before

    found = READERS[name](folder)
    for key in entry(1):
        assert [step for step, _ in found[key]] == list(range(1, 9))
        assert [value for _, value in found[key]] == pytest.approx([entry(step)[key] for step in range(1, 9)])
    assert found["eval_loss"] == [(6, 2.5)]

    written = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"a-licence-to-look-for" in written and HIDDEN.encode() in written
    for secret in (FORMED, FROM_ENVIRONMENT, "short-secret"):
        assert secret.encode() not in written


def test_dvclive_leaves_dvc_and_git_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text("metrics:\n  - m.json\n")
    (tmp_path / ".gitignore").write_text("/runs\n")
    commit = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid", "commit", "-qm", "start"]
    dvc = [sys.executable, "-m", "dvc", "init", "-q"]
    for command in (["git", "init", "-q"], dvc):
        subprocess.run(command, check=True)
    begun("dvclive", trackers.find_runs_folder())  # before the first commit
    for command in (["git", "add", "-A"], commit):
        subprocess.run(command, check=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))  # what DVC tells its stages, here in `dvc exp run`
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)
    tracking, state = begun("dvclive", trackers.find_runs_folder())
    train(tracking, state, to=2)
    tracking.on_train_end(None, state, None)
    assert (tmp_path / "runs/f00dcafe/dvclive/metrics.json").is_file()
    assert subprocess.run(["git", "status", "--porcelain"], capture_output=True, check=True).stdout == b""


def test_a_missing_package_stops_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda module: None if module == "alembic" else True)
    with pytest.raises(Stop) as stop:
        make_trackers(["tensorboard", "mlflow"], Path("runs"), "x", {})
    assert str(stop.value) == (
        "report_to: mlflow is not installed; run `python -m pip install --no-deps --require-hashes "
        "-r locks/mlflow.txt` or take mlflow out of report_to."
    )


def test_every_tracker_of_the_schema_is_there_pinned_and_tested():
    root = Path(__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locks = {"cpu", *get_args(get_args(Schema.model_fields["report_to"].annotation)[0])} - {"dvclive"}
    locked = {name for lock in locks for name in read_lock_pins(root / "locks" / f"{lock}.txt")}
    known = get_args(get_args(Schema.model_fields["report_to"].annotation)[0])
    assert set(known) == set(RECORDERS) == set(TRACKER_PACKAGES) == set(READERS)
    for name in set(known) - {"dvclive"}:
        assert {pin.split("==")[0] for pin in extras[name]} == set(TRACKER_PACKAGES[name])
        assert set(extras[name]) <= set(extras["dev"])
    assert {package for packages in TRACKER_PACKAGES.values() for package in packages} <= locked


def test_a_tracker_that_cannot_start_stops_and_one_that_fails_later_is_given_up(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(Stop, match=r"report_to: dvclive cannot start .*take it out"):
        begun("dvclive", tmp_path / "runs")
    sent = []

    def log(step, values):
        sent.append(step)
        if step == 2:
            raise ConnectionError("server gone")

    monkeypatch.setitem(RECORDERS, "dvclive", recorders.contextmanager(lambda run: iter([log])))
    tracking, state = begun("dvclive", tmp_path / "elsewhere")
    train(tracking, state, to=4)
    tracking.on_train_end(None, state, None)
    assert sent == [1, 2]
    assert capsys.readouterr().err == "report_to: dvclive failed and is off from here on (server gone)\n"


def test_only_curves_are_sent():
    end = {"train_runtime": 3.2, "train_loss": 1.0, "total_flos": 1e12, "step": 9, "epoch": 1.0, "note": "text"}
    assert pick_numbers(end) == {"epoch": 1.0}
    assert pick_numbers({"loss": 1, "eval_loss": 2.0, "penalty": 0.1}) == {"loss": 1, "eval_loss": 2.0, "penalty": 0.1}


@pytest.mark.parametrize("name", ["hub_token", "apiKey", "WANDB_API_KEY", "password", "client_secret", "auth"])
def test_keys_with_secret_names_are_hidden(name):
    assert redact_settings({name: "x", "list": [{name: ["y"]}]}) == {name: HIDDEN, "list": [{name: [HIDDEN]}]}


def test_no_param_of_ours_is_hidden(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", FROM_ENVIRONMENT)
    params = load_yaml(Path(__file__).parents[2] / "params.yaml")
    assert redact_settings(params) == params
    assert not any(is_secret_name(name) for name in ("max_new_tokens", "num_virtual_tokens", "author", "extra_tokens"))
    assert redact_settings({"a": None, "token": None, "b": True}) == {"a": None, "token": None, "b": True}
    assert redact_settings(f"http://me:{FORMED}@host {FROM_ENVIRONMENT}!").count(HIDDEN) == 2
