"""How jobs are started, looked after and ended, whichever engine they have; one request may be about several."""

import time
from pathlib import Path
from typing import Any

from tunelock.remote.there import plain
from tunelock.remote.there.job_files import ENDS, JobFolder

_LOOK = 10.0  # seconds between two looks at a queue


def start_jobs(jobs: list[JobFolder], code: Path, environment: dict[str, str]) -> None:
    """Start jobs of one engine, all or none."""
    if jobs[0].read_order()["engine"] == "slurm":
        _load_slurm().start_queued(jobs, code, environment)
    else:
        plain.start_here(jobs, code, environment)


def query_jobs(jobs: list[JobFolder]) -> dict[str, dict[str, Any]]:
    """The state of each job by its id."""
    queued, others = _part(jobs)
    return plain.query_here(others) | (_load_slurm().query(queued) if queued else {})


def cancel_jobs(jobs: list[JobFolder]) -> list[str]:
    """Cancel those that have not ended; which those were."""
    states = query_jobs(jobs)
    alive = [job for job in jobs if states[job.id]["state"] not in ENDS]
    queued, others = _part(alive)
    plain.cancel_here(others)
    if queued:
        _load_slurm().cancel(queued)
    return [job.id for job in alive]


class EndOfJob:
    """Whether a job ended, to be asked often; a queue is asked only now and then."""

    def __init__(self, job: JobFolder) -> None:
        self.job, self._looked_at = job, -_LOOK
        self._pause = _LOOK if job.read_order()["engine"] == "slurm" else 0.0

    def has_come(self) -> bool:
        """What its files say, or else its engine."""
        if self.job.read_state().get("state") in ENDS:
            return True
        if time.monotonic() - self._looked_at < self._pause:
            return False
        self._looked_at = time.monotonic()
        return query_jobs([self.job])[self.job.id]["state"] in ENDS


def add_ages(state: dict[str, Any]) -> dict[str, Any]:
    """A state with `age_s`, seconds since it changed, and `ran_s`: by the clock of the host, right or wrong."""
    now, started = time.time(), state.get("started_at")
    ages = {"age_s": max(0.0, now - state.get("changed_at", now))}
    if started is not None:
        ages["ran_s"] = max(0.0, (state.get("ended_at") or now) - started)
    return state | ages


def _part(jobs: list[JobFolder]) -> tuple[list[JobFolder], list[JobFolder]]:
    """Those of a queue, and the others."""
    queued = [job for job in jobs if job.read_order()["engine"] == "slurm"]
    return queued, [job for job in jobs if job not in queued]


def _load_slurm() -> Any:
    """The module of that engine, which is read only where it is needed."""
    from tunelock.remote.there import slurm

    return slurm
