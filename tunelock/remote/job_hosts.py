"""Which host a job of this repository went to: a note beside the checkpoints; the host itself knows the rest."""

import re
from pathlib import Path

from tunelock.remote.hosts import Host, find_host, load_hosts
from tunelock.remote.ssh_client import is_up
from tunelock.remote.there.locking import hold
from tunelock.remote.watch import Wanted
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, write_json

_NOTE = Path(".ckpt/remote/jobs.json")


def note_jobs(host: str, jobs: list[str]) -> None:
    """Remember the host of these jobs."""
    with hold(_NOTE.with_suffix(".lock")):  # of two submissions at once
        write_json(_NOTE, _read_note() | dict.fromkeys(jobs, host))


def find_host_of(names: list[str], given: str | None) -> Host:
    """The host of these jobs: the one that is given, the one that is noted, or the only one in remote.yaml.

    A job may be named by its id, its experiment or its sweep. Raises `Stop` where that leaves several or none.
    """
    if given:
        return find_host(given)
    noted = _read_note()
    hosts = {host for job, host in noted.items() if _is_called(job, names)}
    known = hosts or set(load_hosts().hosts)
    if len(known) == 1:
        return find_host(known.pop())
    if hosts:
        where = " and ".join(sorted(hosts))
        raise Stop(f"{', '.join(names)}: on {where}; name the jobs of one host, or say which by --host.")
    where = ", ".join(sorted(known))
    raise Stop(f"no job '{names[0]}' was submitted from here; mend the name, or say by --host where it is ({where}).")


def group_jobs(names: list[str], given: str | None) -> list[Wanted]:
    """The hosts of these jobs and which are there; without names all jobs, of that host or of all that are up."""
    if not names:
        hosts = [find_host(given)] if given else [host for host in load_hosts().hosts.values() if is_up(host)]
        return [Wanted(host, None) for host in hosts]
    groups: dict[str, Wanted] = {}
    for name in names:
        host = find_host_of([name], given)
        known = groups[host.name].jobs if host.name in groups else None
        groups[host.name] = Wanted(host, [*(known or []), name])
    return list(groups.values())


def read_noted_jobs() -> list[str]:
    """The ids of the jobs that were submitted from here."""
    return list(_read_note())


def _is_called(job: str, names: list[str]) -> bool:
    """Whether one of the names is the job's id, or that of its experiment or sweep."""
    return any(job == name or re.fullmatch(rf"{re.escape(name)}(-[0-9]+)?-[0-9a-f]{{6}}", job) for name in names)


def _read_note() -> dict[str, str]:
    return read_json(_NOTE) if _NOTE.exists() else {}
