"""What a job says it failed of, out of the log of its command."""

import subprocess
import sys

import pytest

from tunelock.remote.there.command import Command
from tunelock.remote.there.job_files import JobFolder
from tunelock.remote.there.refusal import Refused


def fail_with(tmp_path, lines: str, code: int = 255) -> str:
    """The cause that is found where a command prints these lines and ends with this code."""
    folder = JobFolder(tmp_path / "jobs" / "one")
    folder.clone.mkdir(parents=True)
    folder.log.write_text(f"train: of an earlier command\n{lines}")
    ends = f"import os, signal; os.kill(os.getpid(), {-code})" if code < 0 else f"import sys; sys.exit({code})"
    command = Command([sys.executable, "-c", ends], folder, {})
    command._start = len("train: of an earlier command\n")
    with pytest.raises(Refused) as refused:
        command.wait()
    return str(refused.value)


def test_a_stage_that_lists_problems_is_quoted_whole(tmp_path):
    lines = "validate: params.yaml has 2 problems:\n  a: is 1\n  b: is 2\n"
    lines += "ERROR: failed to reproduce 'validate': exited with 1\n"
    assert fail_with(tmp_path, lines) == "validate: params.yaml has 2 problems: a: is 1 b: is 2"


def test_a_stage_that_broke_is_told_by_its_error(tmp_path):
    lines = (
        "> python -m stages.train\ntrain: Fine-tune\ntrain: 3 of 80 steps (4%)\nTraceback (most recent call last):\n"
    )
    lines += "  File x\nRuntimeError: CUDA error\nERROR: failed to reproduce 'train': exited with 1\n"
    assert fail_with(tmp_path, lines) == "the stage 'train' broke: RuntimeError: CUDA error"


def test_a_stage_that_says_nothing_is_named_with_what_dvc_says(tmp_path):
    lines = "> python -m stages.train\ntrain: Fine-tune\ntrain: 3 of 80 steps (4%)\n"
    cause = fail_with(tmp_path, lines + "ERROR: failed to reproduce 'train': exited with -9\n")
    assert cause.startswith("the stage 'train' ended with exit code 255: failed to reproduce")


def test_dvc_killed_is_told_by_the_signal(tmp_path):
    assert fail_with(tmp_path, "step 0\n", -9) == "DVC was killed there by SIGKILL; was the memory full?"


def test_what_is_left_of_the_group_is_killed(tmp_path):
    folder = JobFolder(tmp_path / "jobs" / "one")
    folder.clone.mkdir(parents=True)
    folder.log.touch()
    command = Command(["sh", "-c", "sleep 987.5 & exit 3"], folder, {"PATH": "/usr/bin:/bin"})
    with pytest.raises(Refused):
        command.wait()
    listed = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if "sleep 987.5" in line and not line.startswith("Z")]
