"""Answers one request of `tunelock remote` on the host: JSON on stdin, JSON lines on stdout, and objects as bytes."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tunelock.remote.there import plain
from tunelock.remote.there.engines import EndOfJob, add_ages, cancel_jobs, query_jobs, start_jobs
from tunelock.remote.there.job_files import ENDS, JobFolder, find_jobs, list_jobs
from tunelock.remote.there.logs import follow_log, summarise_log
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.snapshots import Snapshots
from tunelock.remote.there.streams import MARK, end_if_silent, find_missing, measure_free, receive_objects, send_objects


class _Agent:
    """One request, with the two pipes of the connection."""

    def __init__(self, root: Path, request: dict[str, Any], given: BinaryIO, out: BinaryIO) -> None:
        self.root, self.request, self.given, self.out = root, request, given, out
        self.snapshots = Snapshots(root)

    def prepare(self) -> dict[str, Any]:
        """Make the folders; say which objects and which environment are missing, and what room there is."""
        if not shutil.which("git"):
            raise Refused("git is not found there; install it, or put it on PATH in ~/.bashrc there.")
        for name in ("cache", "jobs", "locks", "env"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.snapshots.make()
        self.snapshots.refuse_another(self.request.get("roots", []))
        self.snapshots.drop_those_without_job()
        missing = find_missing(self.root / "cache", self.request.get("objects", []))
        return {"root": str(self.root), "missing": missing, "free": measure_free(self.root)}

    def put(self) -> dict[str, Any]:
        """Take objects into the cache."""
        with end_if_silent() as moved:
            return {"bytes": receive_objects(self.root / "cache", self.given, moved)}

    def get(self) -> None:
        """Hand objects out of the cache; the stream is the answer."""
        self.say({"value": None})
        with end_if_silent() as moved:
            send_objects(self.root / "cache", self.request["paths"], self.out, moved)

    def submit(self) -> dict[str, Any]:
        """Register the jobs, then let the engine start them; nothing stays behind of those that it refuses."""
        jobs, made = [JobFolder(self.root / "jobs" / order["id"]) for order in self.request["orders"]], []
        now = {"submitted_at": time.time()}  # by the clock of the host: those of laptops differ
        try:
            for job, order in zip(jobs, self.request["orders"], strict=True):
                if job.path.exists():
                    raise Refused(f"a job '{job.id}' lies there already.")
                made.append(job)
                job.write_order(order | now)
                job.update(state="registered")
            self._start(jobs)
        except BaseException:
            plain.cancel_here([job for job in made if job.read_state().get("pid")])
            for job in made:
                shutil.rmtree(job.path, ignore_errors=True)
                with suppress(Refused):  # what failed first is told
                    self.snapshots.drop("jobs", job.id)
            raise
        return {"jobs": [job.id for job in jobs]}

    def abandon(self) -> None:
        """Forget the snapshots of a submission that broke off."""
        for job in self.request["jobs"]:
            if not (self.root / "jobs" / job).exists():
                self.snapshots.drop("jobs", job)

    def resume(self) -> dict[str, Any]:
        """Start jobs again that ended without a result, as remote.yaml has their host now."""
        jobs = find_jobs(self.root, self.request["jobs"])
        for job in jobs:
            state = query_jobs([job])[job.id]["state"]
            if state not in ENDS or state == "done":
                raise Refused(f"'{job.id}' is {state}; there is nothing to resume.")
        for job in jobs:
            job.change_order(self.request.get("host", {}))
            job.update(state="registered", cause=None, wish=None)
        try:
            self._start(jobs)
        except BaseException:
            for job in jobs:
                job.update(state="stopped", cause="it could not be started again.")
            raise
        return {"jobs": [job.id for job in jobs]}

    def _start(self, jobs: list[JobFolder]) -> None:
        code, environment = Path(sys.path[0]), self.request.get("environment", {})
        start_jobs(jobs, code, environment)

    def status(self) -> list[dict[str, Any]]:
        """Order, state and the last line of progress of each job."""
        wanted = self.request.get("jobs")
        jobs = find_jobs(self.root, wanted) if wanted else list_jobs(self.root)
        states = query_jobs(jobs)
        found = {job.id: add_ages(states[job.id]) | summarise_log(job.log) for job in jobs}
        return [{"order": job.read_order(), "state": found[job.id]} for job in jobs]

    def logs(self) -> None:
        """The log, or its last lines; with `follow` until the job ends or the connection does."""
        jobs = find_jobs(self.root, self.request["jobs"])
        if len(jobs) > 1:
            raise Refused(f"that is {len(jobs)} jobs; name one of {', '.join(job.id for job in jobs)}.")
        self.say({"value": None})
        ended = EndOfJob(jobs[0]).has_come if self.request.get("follow") else (lambda: True)
        follow_log(jobs[0].log, self.request.get("lines"), ended, self.given, self.out)

    def cancel(self) -> list[str]:
        """Cancel jobs; which were alive."""
        return cancel_jobs(find_jobs(self.root, self.request["jobs"]))

    def result(self) -> dict[str, Any]:
        """What jobs made: their orders and states, and the objects that belong to each."""
        jobs = find_jobs(self.root, self.request["jobs"])
        states = query_jobs(jobs)
        found = [{"order": job.read_order(), "state": states[job.id], "objects": job.read_objects()} for job in jobs]
        return {"root": str(self.root), "jobs": found}

    def forget(self) -> list[str]:
        """Remove the folders and refs of ended jobs."""
        jobs = find_jobs(self.root, self.request["jobs"])
        for job in jobs:
            if query_jobs([job])[job.id]["state"] not in ENDS:
                raise Refused(f"'{job.id}' still runs; `tunelock remote cancel {job.id}` first.")
            shutil.rmtree(job.path)
            for kind in ("jobs", "results"):
                self.snapshots.drop(kind, job.id)
        return [job.id for job in jobs]

    def doctor(self) -> dict[str, Any]:
        """What the host is like, and between which times of its clock that was found."""
        from tunelock.remote.there.checks import Need, check_machine

        started, order = time.time(), self.request["order"]
        found: list[tuple[str, bool | None, str]] = list(check_machine(self.root, Need(**self.request["need"])))
        if order["engine"] == "slurm":
            from tunelock.remote.there.slurm_check import check_slurm, probe_node

            found += [("slurm", *line) for line in check_slurm(order)]
            found += [("node", *line) for line in probe_node(self.root, order, Path(sys.path[0]))]
        return {"findings": found, "started_at": started, "answered_at": time.time()}

    def install(self) -> str:
        """Make the environment of jobs; which folder has its programs."""
        from tunelock.remote.there.checks import Need, install_environment

        need = Need(**self.request["need"])
        return install_environment(self.root, self.request["files"], need, lambda line: self.say({"said": line}))

    def say(self, line: dict[str, Any]) -> None:
        """A line of the answer."""
        self.out.write(json.dumps(line).encode() + b"\n")
        self.out.flush()


VERBS: dict[str, Callable[[_Agent], Any]] = {
    verb.__name__: verb
    for verb in (
        _Agent.prepare, _Agent.put, _Agent.get, _Agent.submit, _Agent.resume, _Agent.status, _Agent.logs, _Agent.cancel,
        _Agent.result, _Agent.forget, _Agent.abandon,
        _Agent.doctor, _Agent.install,
    )
}  # fmt: skip


def serve(folder: str) -> None:
    """Answer the request on stdin: `{"value": …}`, or why not, and exit code 1."""
    given, out = sys.stdin.buffer, sys.stdout.buffer
    out.write(MARK)
    out.flush()
    line = given.readline()
    if not line.endswith(b"\n"):  # the connection broke off: nothing was asked
        sys.exit(1)
    agent = _Agent(Path(os.path.expanduser(folder)), json.loads(line), given, out)
    try:
        _answer(agent)
    except BrokenPipeError:  # nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # so that Python does not try again at its end
        sys.exit(1)


def _answer(agent: _Agent) -> None:
    try:
        value = VERBS[agent.request["verb"]](agent)
        if agent.request["verb"] not in ("get", "logs"):
            agent.say({"value": value})
    except Refused as refusal:
        agent.say({"refused": str(refusal)})
        sys.exit(1)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = str(error.filename or agent.root)
        agent.say({"errno": error.errno, "error": error.strerror or str(error), "file": where})
        sys.exit(1)
