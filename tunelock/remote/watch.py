"""How jobs stand, asked of several hosts at once; one that does not answer does not hold up the others."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tunelock.remote.connection import connect
from tunelock.remote.hosts import Host


def ask_hosts(hosts: list[Host], jobs: list[str] | None) -> list[tuple[str, dict[str, Any]]]:
    """(host, order and state) of the jobs, all if none are named, each host by one connection."""
    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        answers = pool.map(lambda host: _ask(host, jobs), hosts)
    return [(host.name, job) for host, found in zip(hosts, answers) for job in found]


def _ask(host: Host, jobs: list[str] | None) -> list[dict[str, Any]]:
    with connect(host) as connection:
        return connection.ask("status", jobs=jobs)
