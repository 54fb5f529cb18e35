"""Engine of a plain box, rented or one's own, and of this machine: a job is a process group of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tunelock.remote.there.job_files import ENDS, JobFolder
from tunelock.remote.there.locking import is_held

_GRACE = 120  # seconds that a job may take beyond its limit to hand over and clean up
_PATIENCE = 15.0  # seconds from the wish to stop to the kill


def start(jobs: list[JobFolder], code: Path, environment: dict[str, str]) -> None:
    """Start each job; `timeout` ends it even where the job itself no longer can."""
    for job in jobs:
        order = job.read_order()
        limit, setup = order["time_limit_s"], order["setup"]
        shell = ["sh", "-c", f'{setup}\nexec "$@"', "sh"] if setup else []
        guard = ["timeout", "--kill-after=30", str(int(limit + _GRACE))] if limit and shutil.which("timeout") else []
        with open(job.log, "ab") as log:
            process = subprocess.Popen(
                [*shell, *guard, sys.executable, str(code), "job", str(job.path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=job.path,
                env=os.environ | environment, start_new_session=True,
            )  # fmt: skip
        job.update(state="queued", pid=process.pid)


def query(jobs: list[JobFolder]) -> dict[str, dict[str, Any]]:
    """The state of each job by id; one whose process is gone without a word has failed."""
    return {job.id: _look_after(job) for job in jobs}


def _look_after(job: JobFolder) -> dict[str, Any]:
    state = job.read_state()
    if state.get("state") in (*ENDS, "registered") or is_held(job.path / "lock"):
        return state
    if state["state"] == "queued" and time.time() - state.get("changed_at", 0) < _PATIENCE:
        return state  # it is about to take its lock
    state = job.read_state()  # it may have ended between the two looks
    if state["state"] in ENDS:
        return state
    _kill(state.get("run_pid"))
    cause = f"it was killed from outside or the machine went down; `tunelock remote resume {job.id}` goes on from its checkpoint."
    return job.update(state="failed", cause=cause, ended_at=time.time())


def cancel(jobs: list[JobFolder]) -> None:
    """Ask each job to end, then kill what is left of it."""
    for job in jobs:
        job.update(wish="cancel")
        _signal(job.read_state().get("pid"), signal.SIGTERM)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and any(is_held(job.path / "lock") for job in jobs):
        time.sleep(0.1)
    for job in jobs:
        state = job.read_state()
        if is_held(job.path / "lock"):
            _kill(state.get("run_pid"))
            _kill(state.get("pid"))
        if job.read_state()["state"] not in ENDS:
            job.update(state="cancelled", cause="cancelled by you.", ended_at=time.time())


def _kill(group: int | None) -> None:
    if group:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def _signal(group: int | None, number: int) -> None:
    if group:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            pass
