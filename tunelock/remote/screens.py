"""What `tunelock remote` shows: what a submission sent, and how jobs stand."""

import time
from collections.abc import Iterable
from typing import Any

from rich.table import Table

from tunelock.remote.pull import Pulled
from tunelock.remote.submit import Submission
from tunelock.run.terminal import format_duration


def describe_submission(host: str, done: Submission) -> str:
    """A few lines on what was sent, what runs, and what to type next."""
    lines = [f"{host}: sent {_format_bytes(done.sent)}; {_format_bytes(done.there_already)} were there already."]
    if done.inputs.not_here:
        lines.append(f"Made again there, for they are not in the cache here: {', '.join(done.inputs.not_here)}.")
    lines += [f"{job} is registered." for job in done.jobs]
    first = done.jobs[0] if len(done.jobs) == 1 else "JOB"
    return "\n".join([*lines, f"See it: tunelock remote logs -f {first}. Fetch it: tunelock remote pull {first}"])


def describe_pulled(host: str, found: list[Pulled]) -> str:
    """A line on each experiment that came, and what to type next."""
    lines = [
        f"{one.name} is an experiment here: fetched {_format_bytes(one.fetched)} from {host}; "
        f"{_format_bytes(one.here_already)} were here already."
        for one in found
    ]
    return "\n".join([*lines, f"See it: dvc exp show. Take it over: dvc exp apply {found[0].name}"])


def _format_bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def tabulate_jobs(rows: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    """A line for each (host, job), the newest last."""
    table = Table("job", "host", "state", "since", "stage", "last line", box=None, pad_edge=False)
    for host, job in rows:
        state = job["state"]
        since = format_duration(max(0.0, time.time() - state.get("changed_at", time.time())), rounded=True)
        ended = state["state"] in ("failed", "stopped", "cancelled")
        last = state.get("cause") if ended else state.get("reason") or state.get("last", "")
        table.add_row(job["order"]["id"], host, state["state"], since, state.get("stage", ""), last or "")
    return table
