"""What the doctor asks a cluster, of the real Slurm of one node."""

import os
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from tunelock.remote.host_code import pack_code
from tunelock.remote.there.probe import look_around
from tunelock.remote.there.slurm_check import check_slurm, probe_node
from tunelock.remote.there.slurm_nodes import Nodes, has_what_is_asked, list_nodes, read_limit

QUEUE = {"partition": "gpu", "account": None, "gres": "gpu:1", "cpus": 1, "memory": "100M", "sbatch": []}
ORDER = {"setup": None, "time_limit_s": 3600, "signal_before_s": 60, "slurm": QUEUE}


@pytest.fixture(autouse=True)
def _on_the_login_node(slurm, monkeypatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def code(tmp_path) -> Path:
    path = tmp_path / "the code.zip"
    path.write_bytes(pack_code())
    assert "tunelock/remote/there/probe.py" in zipfile.ZipFile(BytesIO(path.read_bytes())).namelist()
    return path


def assert_queue_empties(slurm) -> None:
    """A job that was cancelled is on its way out for a moment."""
    end = time.monotonic() + 10
    while slurm.run("squeue", "-h").stdout:
        assert time.monotonic() < end
        time.sleep(0.1)


def find_in(findings, words: str) -> bool | None:
    """How the finding with these words is: good, bad or neither."""
    found = list(findings)
    (one,) = [finding for finding in found if words in finding[1]]
    return one[0]


def test_a_cluster_that_would_take_the_job_is_good(slurm):
    before = slurm.run("squeue", "-h", "--states=all", "--format=%i").stdout
    findings = list(check_slurm(ORDER))
    assert [one.sentence for one in findings if one.good is False] == []
    assert find_in(findings, "slurm-wlm ") is True
    assert find_in(findings, "partition 'gpu' has 1 node with gpu:1") is True
    assert find_in(findings, "room for a job now: on 1 of 1") is None
    assert find_in(findings, "Slurm would take the job") is True
    assert find_in(findings, "it keeps no accounts") is None
    assert slurm.run("squeue", "-h", "--states=all", "--format=%i").stdout == before


@pytest.mark.parametrize(
    ("wants", "words"),
    [
        ({"partition": "nope"}, "there is no partition 'nope'; there are: closed, gpu, short."),
        ({"gres": "gpu:h100:1"}, "'gpu:h100:1' together; its nodes have 8 CPUs, 62G memory and gpu:2"),
        ({"partition": "short"}, "60 minutes is above that of partition 'short'"),
    ],
)
def test_what_it_would_not_take_is_one_bad_finding(wants, words):
    assert find_in(check_slurm(ORDER | {"slurm": QUEUE | wants}), words) is False


def test_a_partition_that_is_down_only_makes_jobs_wait():
    findings = list(check_slurm(ORDER | {"slurm": QUEUE | {"partition": "closed"}}))
    assert find_in(findings, "partition 'closed' is down") is None
    assert find_in(findings, "Slurm would take the job") is True


def test_a_job_of_the_doctor_tells_what_it_sees_and_leaves_nothing(tmp_path, slurm, code):
    root = tmp_path / "the host"
    root.mkdir()
    findings = list(probe_node(root, ORDER | {"setup": "export PIP_INDEX_URL=http://127.0.0.1:9/"}, code))
    assert find_in(findings, f"sees {root} and runs {sys.executable}") is True
    assert find_in(findings, "its Python is 3.11.") is True
    assert find_in(findings, "hold from machine to machine") is True
    assert find_in(findings, "git is /") is True
    assert find_in(findings, "it does not reach the package index; set `venv`") is None
    assert list(root.iterdir()) == []
    assert_queue_empties(slurm)


def test_locks_that_do_not_hold_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    (tmp_path / "lock").touch()
    assert find_in(look_around(tmp_path), "locks do not hold") is False


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ("cd /nowhere", "failed with exit code 1"),
        ("kill -9 $$", "it was killed from outside (signal 9)"),
    ],
)
def test_a_job_of_the_doctor_that_fails_is_a_bad_finding(tmp_path, code, setup, words):
    (finding,) = probe_node(tmp_path, ORDER | {"setup": setup}, code)
    assert finding.good is False and words in finding.sentence


def test_a_job_of_the_doctor_that_waits_is_taken_back(tmp_path, slurm, code):
    (finding,) = probe_node(tmp_path, ORDER | {"slurm": QUEUE | {"partition": "closed"}}, code, patience=2)
    assert finding.good is None
    assert "did not come to run within 2 s (its partition is down" in finding.sentence
    assert_queue_empties(slurm)


def test_without_slurm_the_first_finding_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = check_slurm(ORDER)
    assert finding.good is False and "there is no `sbatch` on the PATH" in finding.sentence


def test_nodes_and_what_fits_on_them_are_read_as_slurm_writes_them(monkeypatch, tmp_path):
    lines = "a*|up|2-00:00:00|64|512000|mix|3|gpu:a100:4(S:0-1),gpu:v100:2(S:2,3),lustre:1\n"
    lines += "b|down|infinite|8|16000|idle~|9|(null)\n"
    (tmp_path / "sinfo").write_text(f"#!/bin/sh\ncat <<'END'\n{lines}END\n")
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    a, b = list_nodes()
    assert a == Nodes("a", True, True, 172800, 64, 512000, "mix", 3, {"a100": 4, "v100": 2})
    assert b == Nodes("b", False, False, None, 8, 16000, "idle~", 9, {})
    fits = {"cpus": 64, "memory": "500G", "gres": "gpu:a100:4"}
    assert has_what_is_asked(a, fits)
    assert has_what_is_asked(a, fits | {"gres": "gpu:6,lustre:1"}) and not has_what_is_asked(
        a, fits | {"gres": "gpu:7"}
    )
    assert not has_what_is_asked(a, fits | {"gres": "gpu:v100:3"})
    assert not has_what_is_asked(a, fits | {"cpus": 65}) and not has_what_is_asked(a, fits | {"memory": "501G"})
    assert (read_limit("30:00"), read_limit("1:30:00"), read_limit("UNLIMITED")) == (1800, 5400, None)
