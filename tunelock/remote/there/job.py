"""The job script, the same for every engine: exact tree, locked environment, `dvc exp run`, hand-over.

A job that starts again, after a signal, a time limit or a kill, does so in a fresh clone: finished stages come out of
the run cache, training goes on from its checkpoint, which lies beside the clone.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunelock.remote.there import slurm
from tunelock.remote.there.clone import forget_stages, set_up_clone
from tunelock.remote.there.environment import ensure_environment
from tunelock.remote.there.job_files import JobFolder, list_jobs
from tunelock.remote.there.locking import count_gpus, hold, is_held, take_place
from tunelock.remote.there.refusal import Refused

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: a stage that stopped on request says so with it
_HERE = __name__.rpartition(".")[0]
_CODE = {"PYTHONPATH": sys.path[0]}  # the zip, for modules of this room that need the job's environment
_KILL = 10.0  # seconds from SIGTERM to SIGKILL


class Job:
    """One attempt at a job."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder, self.order = folder, folder.read_order()
        self.wish = ""  # why it is to stop: "time", "signal", "cancel"
        self.run: subprocess.Popen | None = None

    def say(self, sentence: str) -> None:
        """A line of the log."""
        print(f"job: {sentence}", flush=True)

    def work(self) -> None:
        """All of it; the state that it ends in is written in any case."""
        attempt = self.folder.read_state().get("attempt", 0) + 1
        self.folder.update(
            state="running", attempt=attempt, started_at=time.time(), host=socket.gethostname(), pid=os.getpgrp(),
            cause=None, wish=None,
        )  # fmt: skip
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, lambda *_: self.ask_to_stop("cancel" if self._is_cancelled() else "signal"))
        self._set_deadlines()
        self.say(f"{self.folder.id}, attempt {attempt}, on {socket.gethostname()}")
        try:
            with self._take_gpus() as gpus:
                self._run_in_clone(gpus)
        except Refused as refusal:
            self._end("failed", str(refusal))
        except OSError as error:
            self._end("failed", f"{error.filename or 'the disk'} there: {error.strerror}.")

    def ask_to_stop(self, why: str) -> None:
        """Ask the stage that runs to write a checkpoint and stop. Safe in a signal handler."""
        self.wish = self.wish or why
        self.folder.update(state="stopping")
        if self.run and self.run.poll() is None:
            if why == "cancel":
                os.killpg(self.run.pid, signal.SIGTERM)
            else:
                for pid in _find_running_stages(self.folder.clone / ".ckpt"):
                    os.kill(pid, signal.SIGUSR1)
            timer = threading.Timer(_KILL if why == "cancel" else self._leave_time(), self._kill_run)
            timer.daemon = True
            timer.start()

    def _leave_time(self) -> float:
        """Seconds that a stage may take to write its checkpoint."""
        return max(_KILL, self.order["signal_before_s"] - 10)

    def _kill_run(self) -> None:
        if self.run and self.run.poll() is None:
            os.killpg(self.run.pid, signal.SIGKILL)

    def _is_cancelled(self) -> bool:
        return self.folder.read_state().get("wish") == "cancel"

    def _set_deadlines(self) -> None:
        """The job's own limit, whatever becomes of the client. Under Slurm, Slurm sends the signal before its limit."""
        limit = self.order["time_limit_s"]
        if limit and self.order["engine"] != "slurm":
            timer = threading.Timer(max(1.0, limit - self.order["signal_before_s"]), self.ask_to_stop, ["time"])
            timer.daemon = True
            timer.start()

    @contextmanager
    def _take_gpus(self) -> Iterator[dict[str, str]]:
        """What the environment says of the GPUs that are this job's. Slurm gives them; elsewhere each has a lock."""
        if self.order["engine"] == "slurm":
            yield {}
            return
        places = _list_places(self.order["gpus"])
        with take_place(self.folder.root / "locks", places, self._is_first, self._wait_for_gpu) as place:
            kind, _, number = place.partition("-")
            self.folder.update(state="running", reason=None, place=place)
            yield {"CUDA_VISIBLE_DEVICES": number} if kind == "gpu" else {}

    def _is_first(self) -> bool:
        """Whether no older job waits for a GPU."""
        if self.wish:
            raise Refused("it was stopped while it waited for a GPU.")
        for job in list_jobs(self.folder.root):
            if job.id == self.folder.id:
                return True
            if job.read_state().get("state") == "queued" and is_held(job.path / "lock"):
                return False
        return True

    def _wait_for_gpu(self) -> None:
        self.folder.update(state="queued", reason="all places are taken")
        self.say("waits for a free place")

    def _run_in_clone(self, gpus: dict[str, str]) -> None:
        root, clone = self.folder.root, self.folder.clone
        shutil.rmtree(clone, ignore_errors=True)
        self._refuse_if_asked()
        set_up_clone(root / "repo.git", clone, self.order["snapshot"], self.order["head"])
        (self.folder.path / "ckpt").mkdir(exist_ok=True)
        (clone / ".ckpt").symlink_to(self.folder.path / "ckpt")
        tools = ensure_environment(root, clone, self.order["python"], self.order["venv"], self.say)
        env = os.environ | gpus | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "TUNELOCK_MACHINE": self.order["host"]}
        env.pop("PYTHONPATH", None)
        self._configure(env)
        self._pass_storage("fetch", self.order["inputs"], env)
        forget_stages(clone, self.order["made_again"])
        if self.order["common"]:
            with hold(root / "locks" / "common.lock", lambda: self.say("waits for what the tasks of this sweep share")):
                self._run_common(env)
        name = self.order["name"]
        sets = [word for override in self.order["overrides"] for word in ("-S", override)]
        self._run(["dvc", "exp", "run", "--name", name, "--allow-missing", *sets], env)
        self._hand_over(env)

    def _configure(self, env: dict[str, str]) -> None:
        cache = str(self.folder.root / "cache")
        for key, value in (("cache.dir", cache), ("cache.type", "reflink,hardlink,symlink,copy"), ("core.analytics", "false")):
            _call(["dvc", "config", "--local", key, value], self.folder.clone, env)

    def _run_common(self, env: dict[str, str]) -> None:
        """Run the stages that all tasks of a sweep share; who comes second finds them in the run cache."""
        apply = "import json, sys; from dvc.utils.hydra import apply_overrides; apply_overrides('params.yaml', json.loads(sys.argv[1]))"
        plain = [override for override in self.order["overrides"] if ":" not in override.split("=")[0]]
        _call(["python", "-c", apply, json.dumps(plain)], self.folder.clone, env)
        self._run(["dvc", "repro", "--allow-missing", *self.order["common"]], env)
        _call(["git", "checkout-index", "--force", "--", "params.yaml"], self.folder.clone, env)

    def _pass_storage(self, verb: str, objects: list[list[Any]], env: dict[str, str]) -> None:
        """Fetch or push objects where home and host share a storage."""
        if self.order["storage"] and objects:
            command = ["python", "-m", f"{_HERE}.stored_objects", verb, self.order["storage"], str(self.folder.root / "cache")]
            moved = json.loads(_call(command, self.folder.clone, env | _CODE, json.dumps(objects)))
            self.say(f"{verb}: {moved['size'] / 1e6:.1f} MB; {moved['there_already'] / 1e6:.1f} MB were there already")

    def _run(self, command: list[str], env: dict[str, str]) -> None:
        """Run a command of DVC in a process group of its own; raises `Refused` with the cause if it fails."""
        self._refuse_if_asked()
        start = self.folder.log.stat().st_size if self.folder.log.exists() else 0
        self.say(" ".join(command))
        self.run = subprocess.Popen(command, cwd=self.folder.clone, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
        self.folder.update(run_pid=self.run.pid)
        code = self.run.wait()
        self.folder.update(run_pid=None)
        self._refuse_if_asked()
        if code:
            raise Refused(_find_cause(self.folder.log, start, code))

    def _refuse_if_asked(self) -> None:
        if self.wish:
            raise Refused(f"stopped ({self.wish})")

    def _hand_over(self, env: dict[str, str]) -> None:
        """Give the experiment to the repository of the host, and list the objects that belong to it."""
        clone, name = self.folder.clone, self.order["name"]
        listed = _call(["git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps"], clone, env)
        refs = [line.split() for line in listed.splitlines()]
        mine = [(ref, commit) for ref, commit in refs if ref.endswith(f"/{name}")]
        if not mine:
            raise Refused(f"`dvc exp run` made no experiment '{name}'; `tunelock remote logs {self.folder.id}` shows why.")
        ref, commit = mine[0]
        objects = json.loads(_call(["python", "-m", f"{_HERE}.used_objects"], clone, env | _CODE))
        (self.folder.path / "objects.json").write_text(json.dumps(objects), encoding="utf-8")
        self._pass_storage("push", objects, env)
        result = f"refs/tunelock/results/{self.folder.id}"
        _call(["git", "push", "--quiet", "--force", "origin", f"{commit}:{result}"], clone, env)
        self._end("done", None, exp=ref, commit=commit, link_type=_name_links(clone))
        shutil.rmtree(clone, ignore_errors=True)
        shutil.rmtree(self.folder.path / "ckpt", ignore_errors=True)

    def _end(self, state: str, cause: str | None, **facts: Any) -> None:
        again = f"`tunelock remote resume {self.folder.id}` goes on from its checkpoint"
        if self.wish == "cancel":
            state, cause = "cancelled", "cancelled by you."
        elif self.wish and state == "failed":
            why = "its time is over" if self.wish == "time" else "it got a signal to stop"
            state, cause = "stopped", f"{why}; {again}."
            if self.order["engine"] == "slurm":
                self.folder.update(state="queued", cause="requeued", run_pid=None)
                self.say("is put back into the queue")
                slurm.requeue(slurm.read_allocation().slurm_id)
                return
        self.say(f"{state}{f': {cause}' if cause else ''}")
        self.folder.update(state=state, cause=cause, ended_at=time.time(), run_pid=None, **facts)


def _list_places(gpus: str | list[int]) -> list[str]:
    """`gpu-0`, …, one for each GPU that jobs may take; a machine without one has the place `cpu`."""
    numbers = list(range(count_gpus())) if gpus == "auto" else gpus
    return [f"gpu-{number}" for number in numbers] or ["cpu"]


def _find_running_stages(locks: Path) -> list[int]:
    """The processes that hold the lock of a stage in this clone."""
    found = []
    for path in locks.glob("*.lock"):
        text = path.read_text().strip()
        if text.isdigit() and is_held(path):
            found.append(int(text))
    return found


def _find_cause(log: Path, start: int, code: int) -> str:
    """The sentence of the log that says what went wrong: a stage's own, or else the error of DVC."""
    with open(log, "rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    failed = next((match[1] for line in reversed(lines) if (match := re.search(r"failed to reproduce '([^']+)'", line))), "")
    told = [line for line in lines if failed and line.startswith(f"{failed.split('@')[0]}: ")]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    if told and not lines[-1].startswith("Traceback"):
        return told[-1]
    where = f"the stage '{failed}' " if failed else "it "
    last = errors[0] if errors else lines[-1] if lines else "it said nothing"
    return f"{where}ended with exit code {code}: {last}"


def _name_links(clone: Path) -> str:
    """How the clone's files hang on the cache: reflink and copy cannot be told apart by a look."""
    for path in clone.glob("models/*/*"):
        if path.is_symlink():
            return "symlink"
        if path.is_file() and path.stat().st_nlink > 1:
            return "hardlink"
    return "reflink or copy"


def _call(command: list[str], folder: Path, env: dict[str, str], given: str = "") -> str:
    """The output of a short command that must succeed."""
    done = subprocess.run(command, cwd=folder, env=env, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Refused(f"`{' '.join(command[:3])}` failed there: {said}")
    return done.stdout


def main(path: str) -> None:
    """Work at the job in this folder, unless a process does so already or it is done."""
    folder = JobFolder(Path(path))
    if is_held(folder.path / "lock"):
        sys.exit("job: another process works at it.")
    with hold(folder.path / "lock"):
        state = folder.read_state().get("state")
        if state in ("done", "cancelled"):
            print(f"job: it is {state} already.", flush=True)
            return
        Job(folder).work()


