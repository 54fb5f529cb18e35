"""What `make repro` says before it installs or runs anything, in plain Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tunelock.planning.before_repro import Free, Needs, check_needs, describe_needs, read_needs, read_stage_names
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml

DAG = """# a comment
stages:
  base:
    cmd: python -m stages.base
    outs:
      - models/base
  train:
    cmd: python -m stages.train
artifacts:
  adapter:
    path: models/adapter
"""
LOCK = """schema: '2.0'
stages:
  base:
    cmd: python -m stages.base
    deps:
    - path: tunelock/run
      hash: md5
      md5: 0123
      size: 7000
    outs:
    - path: models/base
      hash: md5
      md5: 4567.dir
      size: 1500000000
      nfiles: 2
  train:
    outs:
    - path: models/adapter
      hash: md5
      md5: 89ab.dir
      size: 500000000
"""
TIMINGS = {"base_seconds": 20.0, "base_peak_rss_gb": 0.97, "train_seconds": 229.2, "train_peak_rss_gb": 3.84,
           "judge_seconds": 1000.0, "report_peak_rss_gb": 99.0}  # fmt: skip
NEEDS = Needs(stages=2, seconds=249.2, disk=7e9, memory=3.84e9, installs=Path(".venv"))


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A clone in which nothing ran yet."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(DAG)
    Path("dvc.lock").write_text(LOCK)
    Path("locks").mkdir()
    for pins in ("pyproject.toml", "locks/cpu.txt", "locks/cuda.txt"):
        Path(pins).touch()
    Path("metrics").mkdir()
    Path("metrics/timings.json").write_text(json.dumps(TIMINGS))


def test_needs_are_those_of_the_run_in_git_and_of_the_stages_that_there_are():
    assert read_needs(Path(".venv")) == NEEDS


def test_what_is_there_already_takes_no_disk():
    Path("models/base").mkdir(parents=True)
    Path(".venv").mkdir()
    Path(".venv/done").touch()
    needs = read_needs(Path(".venv"))
    assert needs.disk == 1e9 and not needs.installs


def test_other_versions_are_installed_into_the_same_environment():
    Path(".venv").mkdir()
    Path(".venv/done").touch()
    os.utime("locks/cuda.txt", (2e9, 2e9))
    needs = read_needs(Path(".venv"))
    assert needs.installs == Path(".venv") and needs.disk == 4e9


def test_a_project_that_never_ran_promises_nothing():
    Path("dvc.lock").unlink()
    Path("metrics/timings.json").unlink()
    needs = read_needs(Path(".venv"))
    assert (needs.seconds, needs.memory, needs.disk) == (None, None, 3e9)
    assert "machine that made" not in describe_needs(needs, Free(9e9, 9e9)) and check_needs(needs, Free(9e9, 1)) == ""


def test_it_says_what_it_does_disk_memory_and_minutes():
    assert describe_needs(NEEDS, Free(71e9, 22.4e9)).splitlines() == [
        "make repro installs the pinned packages into .venv, then runs those of the 2 stages whose inputs changed.",
        "It takes 7.0 GB of disk (71 GB are free) and 3.8 GB of memory (22 GB are free).",
        "All stages took 4 min on the machine that made metrics/timings.json, the installation apart.",
    ]


def test_clearly_too_little_stops_and_a_close_call_is_said():
    assert check_needs(NEEDS, Free(8e9, 4e9)) == ""
    assert "Memory may be short: training took 3.8 GB of memory and 3.0 GB are free" in check_needs(
        NEEDS, Free(8e9, 3e9)
    )
    with pytest.raises(Stop, match=r"needs 7\.0 GB of disk and 6\.0 GB are free here; free some"):
        check_needs(NEEDS, Free(6e9, 4e9))
    with pytest.raises(Stop, match=r"2\.0 GB are free here; close other programs"):
        check_needs(NEEDS, Free(8e9, 2e9))


def test_the_real_dag_is_read_without_a_parser_of_yaml():
    assert read_stage_names((ROOT / "dvc.yaml").read_text()) == list(load_yaml(ROOT / "dvc.yaml")["stages"])


def test_it_runs_before_anything_is_installed():
    """`-S` hides every package; `-I` the environment's paths."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['', '.venv']; import runpy; " \
           "runpy.run_module('tunelock.planning.before_repro', run_name='__main__')"  # fmt: skip
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("make repro installs the pinned packages into .venv, then runs")
