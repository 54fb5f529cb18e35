"""How jobs of Slurm stand: what they noted themselves, and what the queue says beside it."""

import os
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from tunelock.remote.there.job_files import ENDS, JobFolder
from tunelock.remote.there.logs import read_last_lines
from tunelock.remote.there.slurm_queue import Entry, Queue, read_accounts, read_exit, read_queue
from tunelock.remote.there.slurm_reasons import explain_end, explain_wait

_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
# After these a job may be in the queue again, or its own last word not yet be seen on this machine.
_UNSURE = ("COMPLETED", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED")
_PATIENCE = 20.0  # seconds until such a job counts as gone
_MISSED = "missed"  # a file in its folder says since when


def query(jobs: list[JobFolder]) -> dict[str, dict[str, Any]]:
    """The state of each job by id, by one look at the queue; one that is gone without a word has failed."""
    states = {job.id: job.read_state() for job in jobs}
    alive = [job for job in jobs if states[job.id].get("state") not in (*ENDS, "registered", None)]
    if not alive:
        return states
    queue = read_queue()
    forgotten = [states[job.id]["slurm_id"] for job in alive if states[job.id]["slurm_id"] not in queue.entries]
    known = queue.entries | ({} if queue.trouble else read_accounts(forgotten))
    return states | {job.id: _look_at(job, queue, known.get(states[job.id]["slurm_id"])) for job in alive}


def _look_at(job: JobFolder, queue: Queue, entry: Entry | None) -> dict[str, Any]:
    """The state of a job that has not said that it ended."""
    state = job.read_state()  # it may have ended while Slurm was asked
    if state["state"] in ENDS:
        return state
    if queue.trouble:
        return state | {"reason": f"Slurm does not answer there: {queue.trouble}"}
    if entry and entry.state in _WAITING:
        (job.path / _MISSED).unlink(missing_ok=True)
        return state | {"state": "queued", "reason": _explain_queue(entry, state)}
    if entry and entry.state in _RUNNING:
        (job.path / _MISSED).unlink(missing_ok=True)
        early = {"state": "running", "reason": f"it starts on {entry.node}"} if state["state"] == "queued" else {}
        return state | early | ({"reason": "Slurm paused it"} if entry.state == "SUSPENDED" else {})
    if (entry is None or entry.state in _UNSURE) and _is_just_missed(job):
        return state
    return _note_end(job, state, entry)


def _explain_queue(entry: Entry, state: dict[str, Any]) -> str:
    reason = explain_wait(entry.reason, entry.expected)
    again = state["state"] != "queued"
    return f"Slurm put it back (its node failed, or it had to make room); {reason}" if again else reason


def _is_just_missed(job: JobFolder) -> bool:
    """Whether this is the first look at a job that seems to have ended, or not long after it."""
    mark = job.path / _MISSED
    if not mark.exists():
        mark.touch()
    return mark.stat().st_mtime > time.time() - _PATIENCE


def _note_end(job: JobFolder, state: dict[str, Any], entry: Entry | None) -> dict[str, Any]:
    """The end of a job that did not note it itself."""
    (job.path / _MISSED).unlink(missing_ok=True)
    _kill_leftovers(state)
    over = {"ended_at": time.time(), "run_pid": None}
    if state.get("wish") == "cancel":
        return job.update(state="cancelled", cause="cancelled by you.", **over)
    last = next((line.strip() for line in reversed(read_last_lines(job.log, 20)) if line.strip()), "")
    shown = entry.state if entry else ""
    code = (entry.exit_code or read_exit(entry.slurm_id)) if entry else ""
    cause = explain_end(job.id, shown, code, str(job.root), last)
    return job.update(state="cancelled" if shown == "CANCELLED" else "failed", cause=cause, **over)


def _kill_leftovers(state: dict[str, Any]) -> None:
    """Kill what a killed job left, if that was on this machine; on others Slurm does, by cgroups on most clusters."""
    if state.get("run_pid") and state.get("host") == socket.gethostname():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(state["run_pid"], signal.SIGKILL)
