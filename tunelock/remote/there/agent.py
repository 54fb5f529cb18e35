"""Answers one request of `tunelock remote` on the host: JSON on stdin, JSON lines on stdout, and objects as bytes."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tunelock.remote.there import plain
from tunelock.remote.there.job_files import ENDS, JobFolder, find_jobs, list_jobs
from tunelock.remote.there.logs import follow_log, summarise_log
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.streams import MARK, find_missing, measure_free, receive_objects, send_objects

_HOUR = 3600  # seconds


class Agent:
    """One request, with the two pipes of the connection."""

    def __init__(self, root: Path, request: dict[str, Any], given: BinaryIO, out: BinaryIO) -> None:
        self.root, self.request, self.given, self.out = root, request, given, out

    def prepare(self) -> dict[str, Any]:
        """Make the folders; say which objects and which environment are missing, and what room there is."""
        if not shutil.which("git"):
            raise Refused("git is not installed there; ask for it, or load its module in `setup`.")
        for name in ("cache", "jobs", "locks", "env"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        repository = self.root / "repo.git"
        if not (repository / "HEAD").exists():
            self._call("git", "init", "--quiet", "--bare", str(repository))
            self._call("git", "-C", str(repository), "config", "receive.shallowUpdate", "true")  # a CI's checkout
        self._drop_refs_without_job()
        missing = find_missing(self.root / "cache", self.request.get("objects", []))
        return {"root": str(self.root), "missing": missing, "free": measure_free(self.root)}

    def put(self) -> dict[str, Any]:
        """Take objects into the cache."""
        return {"bytes": receive_objects(self.root / "cache", self.given, lambda size: None)}

    def get(self) -> None:
        """Hand objects out of the cache; the stream is the answer."""
        self.say({"value": None})
        send_objects(self.root / "cache", self.request["paths"], self.out, lambda size: None)

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
            plain.cancel([job for job in made if job.read_state().get("pid")])
            for job in made:
                shutil.rmtree(job.path, ignore_errors=True)
                self._drop_ref("jobs", job.id)
            raise
        return {"jobs": [job.id for job in jobs]}

    def abandon(self) -> None:
        """Forget the snapshots of a submission that broke off."""
        for job in self.request["jobs"]:
            if not (self.root / "jobs" / job).exists():
                self._drop_ref("jobs", job)

    def resume(self) -> dict[str, Any]:
        """Start jobs again that ended without a result."""
        jobs = find_jobs(self.root, self.request["jobs"])
        for job in jobs:
            state = self._query([job])[job.id]["state"]
            if state not in ENDS or state == "done":
                raise Refused(f"'{job.id}' is {state}; there is nothing to resume.")
        for job in jobs:
            job.update(state="registered", cause=None, wish=None)
        self._start(jobs)
        return {"jobs": [job.id for job in jobs]}

    def _start(self, jobs: list[JobFolder]) -> None:
        code, environment = Path(sys.path[0]), self.request.get("environment", {})
        _load_engine(jobs[0].read_order()["engine"]).start(jobs, code, environment)

    def status(self) -> list[dict[str, Any]]:
        """Order, state and the last line of progress of each job."""
        wanted = self.request.get("jobs")
        jobs = find_jobs(self.root, wanted) if wanted else list_jobs(self.root)
        states = self._query(jobs)
        return [{"order": job.read_order(), "state": states[job.id] | summarise_log(job.log)} for job in jobs]

    def _query(self, jobs: list[JobFolder]) -> dict[str, dict[str, Any]]:
        queued = [job for job in jobs if job.read_order()["engine"] == "slurm"]
        others = [job for job in jobs if job not in queued]
        return plain.query(others) | (_load_engine("slurm").query(queued) if queued else {})

    def logs(self) -> None:
        """The log from a byte on; with `follow` until the job ends or the connection does."""
        job = find_jobs(self.root, self.request["jobs"])[0]
        self.say({"value": None})
        ended = (lambda: self._query([job])[job.id]["state"] in ENDS) if self.request.get("follow") else (lambda: True)
        follow_log(job.log, self.request.get("lines"), ended, self.given, self.out)

    def cancel(self) -> list[str]:
        """Cancel jobs; which were alive."""
        jobs = find_jobs(self.root, self.request["jobs"])
        states = self._query(jobs)
        alive = [job for job in jobs if states[job.id]["state"] not in ENDS]
        queued = [job for job in alive if job.read_order()["engine"] == "slurm"]
        plain.cancel([job for job in alive if job not in queued])
        if queued:
            _load_engine("slurm").cancel(queued)
        return [job.id for job in alive]

    def result(self) -> dict[str, Any]:
        """What jobs made: their orders and states, and the objects that belong to each."""
        jobs = find_jobs(self.root, self.request["jobs"])
        states = self._query(jobs)
        found = [{"order": job.read_order(), "state": states[job.id], "objects": job.read_objects()} for job in jobs]
        return {"root": str(self.root), "jobs": found}

    def forget(self) -> list[str]:
        """Remove the folders and refs of ended jobs."""
        jobs = find_jobs(self.root, self.request["jobs"])
        for job in jobs:
            if self._query([job])[job.id]["state"] not in ENDS:
                raise Refused(f"'{job.id}' still runs; `tunelock remote cancel {job.id}` first.")
            shutil.rmtree(job.path)
            for kind in ("jobs", "results"):
                self._drop_ref(kind, job.id)
        return [job.id for job in jobs]

    def _drop_ref(self, kind: str, job: str) -> None:
        self._call("git", "-C", str(self.root / "repo.git"), "update-ref", "-d", f"refs/tunelock/{kind}/{job}")

    def _drop_refs_without_job(self) -> None:
        """Forget the snapshots of submissions that broke off before they became jobs."""
        for ref in (self.root / "repo.git/refs/tunelock/jobs").glob("*"):
            if time.time() - ref.stat().st_mtime > _HOUR and not (self.root / "jobs" / ref.name).exists():
                self._drop_ref("jobs", ref.name)

    def say(self, line: dict[str, Any]) -> None:
        self.out.write(json.dumps(line).encode() + b"\n")
        self.out.flush()

    def _call(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or "no message").splitlines()[-1]
            raise Refused(f"`{' '.join(command[:3])}` failed there: {said}")


def _load_engine(name: str) -> Any:
    """The module that starts, queries and cancels jobs of this engine; Slurm's is read only where it is needed."""
    if name != "slurm":
        return plain
    from tunelock.remote.there import slurm

    return slurm


VERBS: dict[str, Callable[[Agent], Any]] = {
    verb.__name__: verb
    for verb in (
        Agent.prepare, Agent.put, Agent.get, Agent.submit, Agent.resume, Agent.status, Agent.logs, Agent.cancel,
        Agent.result, Agent.forget, Agent.abandon,
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
    agent = Agent(Path(os.path.expanduser(folder)), json.loads(line), given, out)
    try:
        _answer(agent)
    except BrokenPipeError:  # nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # so that Python does not try again at its end
        sys.exit(1)


def _answer(agent: Agent) -> None:
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
