"""Jobs as a person sees them through `tunelock remote`: submitted, looked at, waited for."""

import json
import time
from pathlib import Path

from tests.command_line import run_tunelock
from tests.remote.toy import list_processes
from tunelock.remote.there.job_files import ENDS

_HOSTS: dict[str, str] = {}  # of the jobs that this process submitted


def submit_all(host: str, *options: str) -> list[str]:
    """The ids of the jobs that a submission became."""
    done = run_tunelock("remote", "submit", host, *options, "--json")
    assert done.exit_code == 0, done.output
    jobs = json.loads(done.stdout)["jobs"]
    _HOSTS.update(dict.fromkeys(jobs, host))
    return jobs


def submit(*options: str) -> str:
    """The id of the one job that was submitted to `here`."""
    (job,) = submit_all("here", *options)
    return job


def status(job: str) -> dict:
    """The state of a job."""
    return json.loads(run_tunelock("remote", "status", job, "--host", _HOSTS[job], "--json").stdout)[0]["state"]


def wait_for(job: str, *states: str, seconds: float = 90) -> dict:
    """The state of a job as soon as it is one of these; any other end is an error."""
    until = time.monotonic() + seconds
    while (found := status(job))["state"] not in states:
        assert time.monotonic() < until and found["state"] not in ENDS, found
        time.sleep(0.3)
    return found


def wait_for_process(project: Path, word: str) -> None:
    """Wait until a process runs below the folder of the host beside the project."""
    until = time.monotonic() + 90
    while not list_processes(project.parent / "the höst", word):
        assert time.monotonic() < until
        time.sleep(0.1)
