"""Holding a rented machine: SkyPilot stops one that is idle, and of our jobs it knows nothing.

So a job of SkyPilot's own runs `hold` for as long as one of ours is alive, and for a while after one that failed.
"""

import time
from collections.abc import Callable
from pathlib import Path

from tunelock.remote.there import plain
from tunelock.remote.there.job_files import ENDS, list_jobs

_POLL = 10.0  # seconds between two looks


def hold_machine(root: Path, keep_failed: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Return when no job is alive and the last one that failed did so `keep_failed` seconds ago.

    Each job has its own time limit, so this ends.
    """
    told = ""
    while reason := _say_why_held(root, keep_failed):
        if reason != told:
            print(f"hold: {reason}", flush=True)
            told = reason
        sleep(_POLL)
    print("hold: no job is left", flush=True)


def _say_why_held(root: Path, keep_failed: float) -> str:
    """Why the machine is still needed, or nothing."""
    states = plain.query_here(list_jobs(root))
    for job, state in states.items():
        if state.get("state") not in (*ENDS, "registered"):
            return f"{job} is {state['state']}"
    for job, state in states.items():
        if state.get("state") == "failed" and time.time() - state.get("ended_at", 0) < keep_failed:
            return f"{job} failed; the machine is kept for a look at it"
    return ""
