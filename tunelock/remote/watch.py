"""How jobs stand, asked of several hosts at once; one that does not answer does not hold up the others."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

from tunelock.remote.connection import Connection, connect
from tunelock.remote.hosts import Host
from tunelock.remote.there.job_files import ENDS
from tunelock.run.errors import Stop

_LOOKS = {"local": 1.0, "ssh": 3.0, "slurm": 10.0}  # seconds between two looks; a queue is asked less often
_SLOWEST = 60.0  # seconds between two looks at a host that does not answer


class Wanted(NamedTuple):
    """A host to be asked, and which of its jobs; None for all."""

    host: Host
    jobs: list[str] | None


class JobView(NamedTuple):
    """A job of a host: its order and its state, as the agent there tells them."""

    host: str
    order: dict[str, Any]
    state: dict[str, Any]

    @property
    def id(self) -> str:
        return self.order["id"]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it, unless it is resumed."""
        return self.state["state"] in ENDS


class HostView(NamedTuple):
    """What a host said: its jobs, and why it does not answer if it does not."""

    host: str
    jobs: list[JobView]
    fault: str | None = None


def ask_hosts(wanted: list[Wanted]) -> list[HostView]:
    """How the jobs stand; where several hosts are asked, ssh asks the person for nothing."""
    with ExitStack() as stack:
        return _ask_all(_connect_all(wanted, stack), [one.jobs for one in wanted])


def watch_jobs(wanted: list[Wanted], show: Callable[[list[HostView]], None]) -> list[JobView]:
    """Look again and again, by connections that stay, until the jobs ended; how they ended.

    Where none are named, those are meant that have not ended at the first look. `show` gets each look. A host that
    falls silent keeps its jobs as they were, and is asked ever less often.

    Raises:
        Stop: a host of the named jobs, or every host, does not answer at the first look.
    """
    with ExitStack() as stack:
        connections = _connect_all(wanted, stack)
        views = _ask_all(connections, [one.jobs for one in wanted])
        faults = [view.fault for view in views if view.fault]
        if faults and (len(faults) == len(views) or any(one.jobs for one in wanted)):
            raise Stop("\n".join(faults))
        chosen = _choose_jobs(views, wanted)
        pause = least = max((_LOOKS.get(one.host.engine, 3.0) for one in wanted), default=0)
        while True:
            views = [view._replace(jobs=[job for job in view.jobs if job.id in chosen]) for view in views]
            show(views)
            jobs = list_job_views(views)
            if all(job.has_ended for job in jobs):
                return jobs
            time.sleep(pause)
            views = [
                old._replace(fault=new.fault) if new.fault else new
                for old, new in zip(views, _ask_all(connections, [None] * len(wanted)), strict=True)
            ]
            pause = min(2 * pause, _SLOWEST) if all(view.fault for view in views) else least


def list_job_views(views: list[HostView]) -> list[JobView]:
    """The jobs of all hosts."""
    jobs: list[JobView] = []
    for view in views:
        jobs += view.jobs
    return jobs


def _choose_jobs(views: list[HostView], wanted: list[Wanted]) -> set[str]:
    """The ids of the jobs that were named, or else of those that have not ended."""
    chosen: set[str] = set()
    for view, one in zip(views, wanted, strict=True):
        chosen |= {job.id for job in view.jobs if one.jobs or not job.has_ended}
    return chosen


def _connect_all(wanted: list[Wanted], stack: ExitStack) -> list[Connection]:
    return [stack.enter_context(connect(one.host, batch=len(wanted) > 1)) for one in wanted]


def _ask_all(connections: list[Connection], jobs: list[list[str] | None]) -> list[HostView]:
    with ThreadPoolExecutor(max(1, len(connections))) as pool:
        return list(pool.map(_ask_one, connections, jobs))


def _ask_one(connection: Connection, jobs: list[str] | None) -> HostView:
    name = connection.host.name
    try:
        told = connection.ask("status", jobs=jobs)
    except Stop as stop:
        return HostView(name, [], str(stop))
    return HostView(name, [JobView(name, job["order"], job["state"]) for job in told])
