"""A sweep through a real Slurm, over a real sshd: submit, queue, run, pull."""

import json
from pathlib import Path

import pytest

from tests.command_line import run_tunelock
from tests.remote.toy import copy_project, list_experiments
from tests.remote.waiting import submit_all, wait_for


@pytest.fixture
def project(made, sshd, slurm, tmp_path, monkeypatch) -> Path:
    """A copy of the project, in which the test stands, with a cluster."""
    import sys

    folder = copy_project(made, tmp_path / "my project")
    shared = {"ssh": ["-F", str(sshd.ssh_config)], "venv": sys.prefix}
    cluster = {
        "engine": "slurm",
        "address": "cluster",
        "folder": str(tmp_path / "the cluster"),
        "memory": "1G",
        "cpus": 1,
        **shared,
    }
    (folder / "remote.yaml").write_text(json.dumps({"hosts": {"cluster": cluster}}))
    monkeypatch.chdir(folder)
    return folder


def test_a_sweep_is_one_array_and_makes_what_its_tasks_share_once(project):
    (project / "data.txt").write_text("another row\n")
    jobs = submit_all("cluster", "-n", "rates", "-S", "params.json:rate=3,4,5")
    assert len(jobs) == 3
    states = [wait_for(job, "done", seconds=180) for job in jobs]
    assert len({state["slurm_id"].partition("_")[0] for state in states}) == 1
    assert run_tunelock("remote", "pull", "rates").exit_code == 0
    assert list_experiments(project) == {"rates-1", "rates-2", "rates-3"}
    logs = [run_tunelock("remote", "logs", job, "--host", "cluster").stdout for job in jobs]
    assert sum("> python stage.py prepare" in log for log in logs) == 1
