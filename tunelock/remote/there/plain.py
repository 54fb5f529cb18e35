"""Engine of a plain box, rented or one's own, and of this machine: a job is a process group of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunelock.remote.there.job_files import ENDS, JobFolder
from tunelock.remote.there.locking import is_held
from tunelock.remote.there.logs import read_last_lines

_GRACE = 120  # seconds that a job may take beyond its limit to hand over and clean up
_TRACEBACK = 40  # lines at the end of a log in which an error of the job script is looked for
_FAILED_SETUP = "job: `setup` of remote.yaml failed"
# As under Slurm: a login shell, for `module`, and an end where it fails.
_SETUP = "{{ {setup}\n}} || {{ echo '" + _FAILED_SETUP + ' with exit code \'$?; exit 78; }}\nexec "$@"'
_PATIENCE = 15.0  # seconds from the wish to stop to the kill
_START = 60.0  # seconds that a process may take on a busy machine until it holds its job


def start_here(jobs: list[JobFolder], code: Path, environment: dict[str, str]) -> None:
    """Start each job; `timeout` ends it even where the job itself no longer can."""
    for job in jobs:
        order = job.read_order()
        limit, setup = order["time_limit_s"], order["setup"]
        shell = [shutil.which("bash") or "sh", "-l", "-c", _SETUP.format(setup=setup), "sh"] if setup else []
        guard = ["timeout", "--kill-after=30", str(int(limit + _GRACE))] if limit and shutil.which("timeout") else []
        with open(job.log, "ab") as log:
            process = subprocess.Popen(
                [*shell, *guard, sys.executable, str(code), "job", str(job.path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=job.path,
                env=os.environ | environment, start_new_session=True,
            )  # fmt: skip
        job.update(state="queued", pid=process.pid)


def query_here(jobs: list[JobFolder]) -> dict[str, dict[str, Any]]:
    """The state of each job by id; one whose process is gone without a word has failed."""
    return {job.id: _look_after(job) for job in jobs}


def _look_after(job: JobFolder) -> dict[str, Any]:
    state = job.read_state()
    if state.get("state") in (*ENDS, "registered") or is_held(job.path / "lock"):
        return state
    young = 0 <= time.time() - state.get("changed_at", 0) < _START
    if state["state"] == "queued" and young and _is_alive(state.get("pid")):
        return state  # it is about to take its lock
    state = job.read_state()  # it may have ended between the two looks
    if state["state"] in ENDS:
        return state
    kill_run(job)
    return job.update(state="failed", cause=_explain_death(job), ended_at=time.time(), run_pid=None)


def _is_alive(group: int | None) -> bool:
    """Whether a process group has a process left."""
    try:
        os.killpg(group or 0, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _explain_death(job: JobFolder) -> str:
    """Why a job ended that said nothing of it: an error of its own script stands at the end of its log."""
    again = f"`tunelock remote resume {job.id}` goes on from its checkpoint."
    lines = read_last_lines(job.log, _TRACEBACK)
    said = [line for line in lines if line.strip()]
    if said and said[-1].startswith(_FAILED_SETUP):
        return f"{said[-1].removeprefix('job: ')}; mend it, then `tunelock remote resume {job.id}`."
    if any(line.startswith("Traceback (most recent") for line in said) and not said[-1].startswith("job: "):
        return f"the job script broke there ({said[-1].strip()}); {again}"
    return f"it was killed from outside or the machine went down; {again}"


def cancel_here(jobs: list[JobFolder]) -> None:
    """Ask each job to end, then kill what is left of it."""
    for job in jobs:
        job.update(wish="cancel")
        _signal(job, job.read_state().get("pid"), signal.SIGTERM)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and any(is_held(job.path / "lock") for job in jobs):
        time.sleep(0.1)
    for job in jobs:
        state = job.read_state()
        if is_held(job.path / "lock"):
            kill_run(job)
            _signal(job, state.get("pid"), signal.SIGKILL)
        if job.read_state()["state"] not in ENDS:
            job.update(state="cancelled", cause="cancelled by you.", ended_at=time.time())


def kill_run(job: JobFolder) -> None:
    """Kill what an attempt at the job left running here."""
    _signal(job, job.read_state().get("run_pid"), signal.SIGKILL)


def _signal(job: JobFolder, group: int | None, number: int) -> None:
    """Send a signal to a process group of this job; after a restart another one may have its number."""
    if group and _is_of(job, group):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _is_of(job: JobFolder, group: int) -> bool:
    """Whether a process of this group stands below the job's folder; true where that cannot be told."""
    if not Path("/proc/self/cwd").exists():
        return True
    folder = str(job.path.resolve())
    return any(_read_folder(member).startswith(folder) for member in _list_group(group))


def _list_group(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for name in os.listdir("/proc"):  # no glob: it stumbles over a process that ends meanwhile
        if name.isdigit():
            with suppress(OSError, IndexError):
                stat = Path("/proc", name, "stat").read_text(errors="replace")
                if int(stat.rpartition(")")[2].split()[2]) == group:
                    found.append(int(name))
    return found


def _read_folder(pid: int) -> str:
    """The folder that a process stands in; empty if it is gone or not ours."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""
