"""Engine of a cluster: jobs are batch jobs of Slurm, a sweep is a job array.

A job is registered before it may start: it is submitted on hold, its number is noted, then it is released. What cannot
be noted or released is cancelled, so a submission that fails leaves nothing in the queue.
"""

import json
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tunelock.remote.there.job_files import ENDS, JobFolder, list_jobs
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.slurm_calls import call_slurm, find_last_line, run_slurm
from tunelock.remote.there.slurm_queue import read_queue
from tunelock.remote.there.slurm_refusals import explain_refusal, refuse_impossible
from tunelock.remote.there.slurm_script import list_sbatch_options, write_script
from tunelock.remote.there.slurm_states import query

_PATIENCE = 20.0  # seconds that a cancelled job has to end
_ORPHANED = 300.0  # seconds after which a job on hold without a folder was left by a submission that was killed
_TASK = re.compile(r"(.+-)([1-9]\d*)(-[^-]+)")  # NAME-NUMBER-TOKEN, the id of a task of a sweep


class _Allocation(NamedTuple):
    """What Slurm gave to the job that asks."""

    slurm_id: str
    node: str
    gpus: str  # as CUDA_VISIBLE_DEVICES has them; empty for none
    deadline: float | None  # seconds since 1970; None where Slurm does not say
    restarts: int


def start_queued(jobs: list[JobFolder], code: Path, environment: dict[str, str]) -> None:
    """Put the jobs into the queue; those that differ by a number in their ids become one array.

    `environment` goes to the job with that of this process, by Slurm.

    Raises:
        Refused: Slurm does not take them. None of them is in the queue then.
    """
    _cancel_orphans(jobs[0].root)
    numbers: list[str] = []
    try:
        for array in _group_jobs(jobs):
            numbers.append(_put_on_hold(array, code, environment))
            for job in array.jobs:
                job.update(state="queued", slurm_id=array.name_task(numbers[-1], job))
        run_slurm("scontrol", "release", ",".join(numbers))
    except BaseException:
        _withdraw(numbers)
        raise


def _withdraw(numbers: list[str]) -> None:
    """Take jobs out of the queue, whatever their state."""
    if numbers:
        call_slurm("scancel", *numbers)


def _cancel_orphans(root: Path) -> None:
    """Cancel what a submission left on hold that was killed before it could note the number."""
    noted = {job.read_state().get("slurm_id") for job in list_jobs(root)}
    held = [
        entry for entry in read_queue().entries.values() if entry.reason == "JobHeldUser" and entry.folder == str(root)
    ]
    old = [entry for entry in held if entry.submitted_at < time.time() - _ORPHANED]
    _withdraw([entry.slurm_id for entry in old if entry.slurm_id not in noted])


class _Array(NamedTuple):
    """Jobs whose ids are `before`, a number, `after`; or one job, and both are empty."""

    jobs: list[JobFolder]
    before: str
    after: str

    def list_tasks(self) -> list[str]:
        return [job.id.removeprefix(self.before).removesuffix(self.after) for job in self.jobs]

    def name_task(self, number: str, job: JobFolder) -> str:
        """The id in Slurm of one of the jobs."""
        return f"{number}_{self.list_tasks()[self.jobs.index(job)]}" if len(self.jobs) > 1 else number

    def fill(self, task: str) -> str:
        """The id of a job, with `task` for its number."""
        return f"{self.before}{task}{self.after}" if len(self.jobs) > 1 else self.jobs[0].id


def _group_jobs(jobs: list[JobFolder]) -> list[_Array]:
    """One array of the tasks of a sweep, else each job for itself."""
    parts = [_TASK.fullmatch(job.id) for job in jobs]
    if (
        len(jobs) > 1
        and all(parts)
        and len({(part[1], part[3], _describe(job)) for part, job in zip(parts, jobs)}) == 1
    ):
        return [_Array(jobs, parts[0][1], parts[0][3])]
    return [_Array([job], "", "") for job in jobs]


def _describe(job: JobFolder) -> str:
    """What the tasks of one array have in common."""
    order = job.read_order()
    return json.dumps([order[key] for key in ("slurm", "time_limit_s", "signal_before_s", "setup")], sort_keys=True)


def _put_on_hold(array: _Array, code: Path, environment: dict[str, str]) -> str:
    """Submit on hold; the number in Slurm."""
    order, jobs = array.jobs[0].read_order(), array.jobs[0].path.parent
    folder = shlex.quote(f"{jobs}/") + array.fill("${SLURM_ARRAY_TASK_ID}")
    script = write_script(order, f"{shlex.quote(sys.executable)} {shlex.quote(str(code))} job {folder}")
    log = str(jobs).replace("%", "%%") + f"/{array.fill('%a')}/log.txt"
    options = [
        f"--job-name={array.fill('N')}",
        f"--output={log}",
        f"--chdir={jobs.parent}",
        *list_sbatch_options(order),
    ]
    if len(array.jobs) > 1:
        options.append(f"--array={','.join(array.list_tasks())}")
    refuse_impossible(order, options)
    done = call_slurm("sbatch", "--hold", "--parsable", *options, given=script, environment=environment)
    if done.returncode:
        raise explain_refusal(done, order)
    return done.stdout.strip().splitlines()[-1].partition(";")[0]


def cancel(jobs: list[JobFolder]) -> None:
    """Cancel jobs in the queue and running ones, and wait until they have ended; Slurm kills those that do not."""
    for job in jobs:
        job.update(wish="cancel")
    numbers = [job.read_state()["slurm_id"] for job in jobs if job.read_state().get("slurm_id")]
    if numbers:
        run_slurm("scancel", *numbers)
    until = time.monotonic() + _PATIENCE
    while any(state["state"] not in ENDS for state in query(jobs).values()) and time.monotonic() < until:
        time.sleep(0.2)


def requeue(slurm_id: str) -> None:
    """Put a running job back into the queue; called inside the job, it ends this attempt.

    A job that Slurm is ending already is left to it: Slurm itself puts back what it preempts, and what a person
    cancelled there is to stay so, which `scontrol requeue` would undo.

    Raises:
        Refused: Slurm does not let it start again.
    """
    if run_slurm("squeue", "--noheader", f"--jobs={slurm_id}", "--format=%T").strip() != "RUNNING":
        return
    done = call_slurm("scontrol", "requeue", slurm_id)
    if done.returncode and "pending execution" not in done.stderr:
        raise Refused(f"Slurm did not put it back into the queue: {find_last_line(done)}")


def read_allocation() -> _Allocation:
    """What Slurm gave to the job that this process runs in."""
    number, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    end = os.environ.get("SLURM_JOB_END_TIME")  # from Slurm 22.05 on, where the site has it
    return _Allocation(
        slurm_id=f"{number}_{task}" if number else os.environ["SLURM_JOB_ID"],
        node=os.environ.get("SLURMD_NODENAME", ""),
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        deadline=float(end) if end else None,
        restarts=int(os.environ.get("SLURM_RESTART_COUNT", "0")),
    )
