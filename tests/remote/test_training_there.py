"""A real training on a real Slurm: told to stop, killed, put back into the queue; the bits are those of a quiet run."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import run_tunelock
from tests.remote.waiting import status, submit_all, wait_for
from tunelock.run.params import load_yaml

pytestmark = pytest.mark.slow
CHANGES = ("-S", "learning_rate=0.005", "-S", "num_train_epochs=4")


@pytest.fixture
def project(built, sshd, slurm, tmp_path, monkeypatch) -> Path:
    """A copy of the built project, in which the test stands, and a cluster."""
    folder = tmp_path / "my project"
    shutil.copytree(built.folder, folder, symlinks=True)
    cluster = {
        "engine": "slurm", "address": "cluster", "ssh": ["-F", str(sshd.ssh_config)], "venv": sys.prefix,
        "folder": str(tmp_path / "the cluster"), "memory": "4G", "cpus": 1, "gres": None,
    }  # fmt: skip
    base = load_yaml(folder / "params.yaml")["model_name_or_path"]  # the same path there
    (folder / "remote.yaml").write_text(json.dumps({"hosts": {"cluster": cluster}, "allow": [base]}))
    monkeypatch.chdir(folder)
    return folder


def wait_until(is_so, job: str) -> None:
    until = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < until, status(job)
        time.sleep(0.05)


def hash_adapter(folder: Path) -> str:
    return hashlib.sha256((folder / "models/adapter/adapter_model.safetensors").read_bytes()).hexdigest()


def test_a_training_that_was_told_to_stop_and_killed_ends_with_the_same_bits(project, slurm, built):
    (job,) = submit_all("cluster", "-n", "hard", *CHANGES)
    there = project.parent / "the cluster/jobs" / job
    wait_until(lambda: list(there.glob("ckpt/train/*/checkpoint-*[0-9]/manifest.json")), job)
    slurm.run("scancel", "--signal=USR1", "--batch", status(job)["slurm_id"])
    wait_until(lambda: "stopped on request" in (there / "log.txt").read_text(), job)
    wait_until(lambda: "going on from" in (there / "log.txt").read_text(), job)
    os.kill(int((there / "ckpt/train.lock").read_text()), signal.SIGKILL)
    wait_until(lambda: status(job)["state"] == "failed", job)
    assert "train" in status(job)["cause"]
    assert run_tunelock("remote", "resume", "hard").exit_code == 0
    assert wait_for(job, "done", seconds=300)["attempt"] == 3
    assert run_tunelock("remote", "pull", "hard").exit_code == 0
    subprocess.run(["dvc", "exp", "apply", "hard"], check=True, env=built.env)
    assert "Running stage" not in subprocess.run(
        ["dvc", "repro"], check=True, env=built.env, capture_output=True, text=True
    ).stdout  # fmt: skip
    quiet = project.parent / "quiet"
    shutil.copytree(built.folder, quiet, symlinks=True)
    subprocess.run(["dvc", "exp", "run", *CHANGES, "train"], check=True, env=built.env, cwd=quiet)
    assert hash_adapter(project) == hash_adapter(quiet)
