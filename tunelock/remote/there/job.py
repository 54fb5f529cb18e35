"""One attempt at a job, the same for every engine: a place on the machine, the work, and how it ends.

A job that starts again, after a signal, a time limit or a kill, does so in a fresh clone: finished stages come out of
the run cache, training goes on from its checkpoint, which lies beside the clone.
"""

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunelock.remote.there import plain, slurm
from tunelock.remote.there.command import Command
from tunelock.remote.there.job_files import JobFolder, list_jobs
from tunelock.remote.there.locking import count_gpus, hold, is_held, take_place
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.work import work_in_clone

_KILL = 10.0  # seconds from SIGTERM to SIGKILL
_DONE = "Updating lock file"  # what DVC says when a stage is done
_NOT_PROGRESS = (".lock", "timings.json")  # files beside checkpoints that every start writes


class _Job:
    """One attempt at a job."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder, self.order = folder, folder.read_order()
        self.wish = ""  # why it is to stop: "time", "signal", "end" or "cancel"
        self.command: Command | None = None  # what runs now
        self.started = time.time()

    def say(self, sentence: str) -> None:
        """A line of the log."""
        print(f"job: {sentence}", flush=True)

    def run(self) -> None:
        """All of it; the state that it ends in is written in any case."""
        attempt, host = self.folder.read_state().get("attempt", 0) + 1, socket.gethostname()
        known = {"attempt": attempt, "started_at": self.started, "host": host, "pid": os.getpgrp()}
        if self.folder.read_state().get("wish") == "cancel":  # it came while the job was about to start
            self.wish = "cancel"
        plain.kill_run(self.folder)  # of an attempt that was killed
        self.folder.update(state="running", cause=None, run_pid=None, **known)
        for number, why in ((signal.SIGUSR1, "signal"), (signal.SIGTERM, "end")):
            signal.signal(number, lambda *_, why=why: self.ask_to_stop("cancel" if self._is_cancelled() else why))
        self._set_deadline()
        self.say(f"{self.folder.id}, attempt {attempt}, on {host}")
        try:
            with self._take_place() as variables:
                facts = work_in_clone(self.folder, self.order, variables, self.call, self.say)
            self._end("done", None, **facts)
        except Refused as refusal:
            self._end("failed", str(refusal))
        except OSError as error:
            self._end("failed", f"{error.filename or 'the disk'} there: {error.strerror}.")
        except Exception:
            traceback.print_exc()
            self._end("failed", f"tunelock's own code failed there; `tunelock remote logs {self.folder.id}` has where.")

    def call(self, command: list[str], environment: dict[str, str]) -> None:
        """Run a command of DVC in the clone; `Refused` with the cause if it fails, or if the job is to stop."""
        self.refuse_if_asked()
        self.say(" ".join(command))
        self.command = Command(command, self.folder, environment)
        self.folder.update(run_pid=self.command.group)
        try:
            self.command.wait()
        finally:
            self.folder.update(run_pid=None)
        if self.wish == "cancel":
            self.refuse_if_asked()

    def refuse_if_asked(self) -> None:
        if self.wish:
            raise Refused("it is to stop.")

    def ask_to_stop(self, why: str) -> None:
        """Let the stage that runs write a checkpoint and stop, or end it at once if the job is cancelled.

        Safe in a signal handler and in a timer.
        """
        self.wish = self.wish or why
        self.folder.update(state="stopping")
        if self.command:
            patience = _KILL if why == "cancel" else max(_KILL, self.order["signal_before_s"] - 10)
            self.command.stop(at_once=why == "cancel", patience=patience)

    def _is_cancelled(self) -> bool:
        return self.folder.read_state().get("wish") == "cancel"

    def _set_deadline(self) -> None:
        """The job's own limit, whatever becomes of the client. Under Slurm, Slurm sends the signal before its limit."""
        if self.order["engine"] != "slurm":
            wait = max(1.0, self.order["time_limit_s"] - self.order["signal_before_s"])
            timer = threading.Timer(wait, self.ask_to_stop, ["time"])
            timer.daemon = True
            timer.start()

    @contextmanager
    def _take_place(self) -> Iterator[dict[str, str]]:
        """The variable that names the GPU of this job. Slurm gives GPUs itself; elsewhere each has a lock."""
        if self.order["engine"] == "slurm":
            yield {}
            return
        places = _list_places(self.order["gpus"])
        with take_place(self.folder.root / "locks", places, self._is_first, self._wait_for_place) as place:
            kind, _, number = place.partition("-")
            self.folder.update(state="running", reason=None, place=place)
            yield {"CUDA_VISIBLE_DEVICES": number} if kind == "gpu" else {}

    def _is_first(self) -> bool:
        """Whether no older job waits for a place."""
        self.refuse_if_asked()
        for job in list_jobs(self.folder.root):
            if job.id == self.folder.id:
                return True
            if job.read_state().get("state") == "queued" and is_held(job.path / "lock"):
                return False
        return True

    def _wait_for_place(self) -> None:
        self.folder.update(state="queued", reason="all places are taken")
        self.say("waits for a free place")

    def _end(self, state: str, cause: str | None, **facts: Any) -> None:
        if state == "failed" and self.wish:
            state, cause = self._describe_stop()
        self.say(f"{state}{f': {cause}' if cause else ''}")
        self.folder.update(state=state, cause=cause, ended_at=time.time(), run_pid=None, **facts)
        if state == "queued":
            try:
                slurm.requeue(slurm.read_allocation().slurm_id)
            except Refused as refusal:
                self.folder.update(state="stopped", cause=str(refusal))

    def _describe_stop(self) -> tuple[str, str]:
        """State and cause of a job that stopped because it was asked to."""
        if self.wish == "cancel":
            return "cancelled", "cancelled by you."
        again = f"`tunelock remote resume {self.folder.id}` goes on from its checkpoint"
        if self.wish == "end":
            who = "Slurm ended it, by scancel or for another job" if self.order["engine"] == "slurm" else "it was ended"
            return "stopped", f"{who}; {again}."
        why = "its time is over" if self.wish == "time" else "it got a signal to stop"
        if self.order["engine"] == "slurm":
            if self._came_on():
                return "queued", f"{why}; it waits to go on."
            return "stopped", f"{why}, and it came no further in it; set a longer `time_limit` in remote.yaml."
        return "stopped", f"{why}; {again}."

    def _came_on(self) -> bool:
        """Whether this attempt finished a stage or wrote a checkpoint: one that did neither would start for ever."""
        kept = [path for path in (self.folder.path / "ckpt").rglob("*") if not path.name.endswith(_NOT_PROGRESS)]
        if any(path.is_file() and path.stat().st_mtime > self.started for path in kept):
            return True
        said = self.folder.log.read_text(encoding="utf-8", errors="replace")
        return _DONE in said.rpartition(f"job: {self.folder.id}, attempt ")[2]


def _list_places(gpus: str | list[int]) -> list[str]:
    """`gpu-0`, …, one for each GPU that jobs may take; a machine without one has the place `cpu`."""
    numbers = list(range(count_gpus())) if gpus == "auto" else gpus
    return [f"gpu-{number}" for number in numbers] or ["cpu"]


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
        _Job(folder).run()
