"""A rented machine is held while jobs are alive, and for a while after one that failed."""

import fcntl
import time

from tunelock.remote.there.holding import hold_machine
from tunelock.remote.there.job_files import JobFolder


def make_job(root, name: str, **state) -> JobFolder:
    job = JobFolder(root / "jobs" / name)
    job.write_order({"id": name, "engine": "sky", "submitted_at": 0})
    job.update(**state)
    return job


def test_without_a_job_it_is_not_held(tmp_path, capsys):
    hold_machine(tmp_path, 3600, sleep=lambda _: 1 / 0)
    make_job(tmp_path, "a", state="done", ended_at=time.time())
    make_job(tmp_path, "b", state="registered")
    hold_machine(tmp_path, 3600, sleep=lambda _: 1 / 0)
    assert capsys.readouterr().out == "hold: no job is left\n" * 2


def test_it_is_held_while_a_job_runs_and_after_a_failure(tmp_path, capsys):
    job = make_job(tmp_path, "a", state="running")
    lock = open(job.path / "lock", "w")  # noqa: SIM115  # the job's process
    fcntl.flock(lock, fcntl.LOCK_EX)
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            job.update(state="failed", ended_at=time.time())
            lock.close()
        if len(naps) == 4:
            job.update(ended_at=time.time() - 61)

    hold_machine(tmp_path, 60, sleep=nap)
    assert len(naps) == 4
    assert capsys.readouterr().out.splitlines() == [
        "hold: a is running", "hold: a failed; the machine is kept for a look at it", "hold: no job is left",
    ]  # fmt: skip


def test_a_job_that_was_killed_does_not_hold_it_for_ever(tmp_path, capsys):
    make_job(tmp_path, "a", state="running", changed_at=0)
    hold_machine(tmp_path, 0, sleep=lambda _: 1 / 0)
    assert "no job is left" in capsys.readouterr().out
