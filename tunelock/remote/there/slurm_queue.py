"""What Slurm knows of jobs: one call of squeue, and one of sacct for those that the queue has forgotten."""

import os
import re
import time
from typing import NamedTuple

from tunelock.remote.there.slurm_calls import call_slurm, find_last_line

_FIELDS = "%i|%T|%r|%S|%N|%V|%Z"


class Entry(NamedTuple):
    """A job as Slurm shows it. `expected` is the start that it had or is to have, `folder` where it runs."""

    slurm_id: str
    state: str = ""
    reason: str = ""
    expected: str = ""
    node: str = ""
    submitted_at: float = 0.0  # seconds since 1970
    folder: str = ""
    exit_code: str = ""  # `code:signal`, where the accounting was asked


class Queue(NamedTuple):
    """The jobs by their ids in Slurm; `trouble` is what Slurm said if it did not answer."""

    entries: dict[str, Entry]
    trouble: str


def read_queue() -> Queue:
    """All jobs of this user that Slurm's controller remembers: those that wait or run, and those that ended lately."""
    done = call_slurm("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={_FIELDS}")
    if done.returncode:
        return Queue({}, find_last_line(done))
    entries = [_read_queue_line(line) for line in done.stdout.splitlines()]
    return Queue({entry.slurm_id: entry for entry in entries}, "")


def _read_queue_line(line: str) -> Entry:
    slurm_id, state, reason, expected, node, submitted, folder = line.split("|", 6)
    at = time.mktime(time.strptime(submitted, "%Y-%m-%dT%H:%M:%S"))
    return Entry(slurm_id, state, reason, expected, node, at, folder)


def read_exit(slurm_id: str) -> str:
    """`code:signal` that a job ended with, while the controller remembers it; empty after that."""
    found = re.search(r"\bExitCode=(\d+:\d+)", call_slurm("scontrol", "--oneliner", "show", "job", slurm_id).stdout)
    return found[1] if found else ""


def read_accounts(slurm_ids: list[str]) -> dict[str, Entry]:
    """The jobs that the accounting knows, after the controller has forgotten them; none without accounting."""
    if not slurm_ids:
        return {}
    fields = "JobID,State,ExitCode,Start,NodeList"
    command = ("sacct", "-X", "-n", "-P", "--duplicates", f"--jobs={','.join(slurm_ids)}", f"--format={fields}")
    done = call_slurm(*command)
    found = {}
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        slurm_id, state, code, start, node = line.split("|", 4)
        state = state.split()[0]  # `CANCELLED by 1000`
        signal = code.partition(":")[2]
        found[slurm_id] = Entry(
            slurm_id, state, f"RaisedSignal:{signal}" if signal not in ("", "0") else "", start, node
        )
    return found
