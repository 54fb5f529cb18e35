"""From the workspace to jobs on a host: snapshot, inputs, orders; what is there already is not sent."""

import getpass
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.remote.connection import Connection, connect
from tunelock.remote.hosts import Host
from tunelock.remote.inputs import Inputs, list_inputs
from tunelock.remote.snapshot import Snapshot, take_snapshot
from tunelock.remote.storage import push_objects
from tunelock.remote.sweeps import expand_overrides, find_common_stages, list_swept_keys, name_tasks
from tunelock.remote.there.stored_objects import Moved
from tunelock.run.errors import Stop
from tunelock.run.revisions import run_git

JOBS = "refs/tunelock/jobs"  # of the snapshots, here and on the host


class Wish(NamedTuple):
    """What a person asks for: the experiment's name, and overrides as `dvc exp run -S` takes them."""

    name: str
    overrides: list[str]


class Submission(NamedTuple):
    """What was sent, in bytes, and the ids of the jobs that it became."""

    jobs: list[str]
    snapshot: Snapshot
    inputs: Inputs
    sent: int
    there_already: int


def submit(host: Host, wish: Wish, allowed: Sequence[str], max_file_mb: float, seen: Callable[[int, int], None]) -> Submission:
    """Send the workspace as it is and start a job for each combination of overrides.

    `seen` gets the bytes of each piece of data that is sent, and how many there are in all.

    Raises:
        Stop: a name is taken, the snapshot is refused, or the host says no. Nothing stays behind there.
    """
    tasks = expand_overrides(wish.overrides)
    names = name_tasks(wish.name, len(tasks))
    _refuse_taken(names)
    snapshot = take_snapshot(max_file_mb, allowed)
    inputs = list_inputs(tasks, snapshot, allowed)
    orders = _write_orders(host, wish, snapshot, inputs, dict(zip(names, tasks)))
    jobs, environment = [order["id"] for order in orders], read_environment(host)
    with connect(host) as connection:
        told = connection.ask("prepare", objects=[] if host.storage else inputs.objects)
        moved = _send_inputs(connection, inputs, told, seen)
        with _leave_nothing_behind(connection, jobs):
            push_snapshot(connection, connection.name_repository(told["root"]), snapshot, jobs)
            connection.ask("submit", orders=orders, environment=environment)
    return Submission(jobs, snapshot, inputs, moved.size, moved.there_already)


def _send_inputs(connection: Connection, inputs: Inputs, told: dict[str, Any], seen: Callable[[int, int], None]) -> Moved:
    """Give the host, or the storage that it shares with this machine, the objects that it lacks."""
    host, cache = connection.host, find_cache()
    if host.storage:
        return push_objects(host.storage, inputs.objects, cache, lambda piece: seen(piece, inputs.size))
    sizes = dict(inputs.objects)
    size = sum(sizes[path] for path in told["missing"])
    _refuse_full_disk(host, size, told["free"])
    if told["missing"]:
        connection.ask("put", send=told["missing"], cache=cache, seen=lambda piece: seen(piece, size))
    return Moved(len(told["missing"]), size, inputs.size - size)


@contextmanager
def _leave_nothing_behind(connection: Connection, jobs: list[str]) -> Iterator[None]:
    """Have the host forget snapshots that become no job, if it can be told; else it does so by itself an hour later."""
    try:
        yield
    except BaseException:
        with suppress(Stop):
            connection.ask("abandon", jobs=jobs)
        raise


def find_cache() -> Path:
    """DVC's cache of this repository, wherever it is."""
    from dvc.repo import Repo

    return Path(Repo().cache.local_cache_dir)


def push_snapshot(connection: Connection, repository: str, snapshot: Snapshot, jobs: list[str]) -> None:
    """Give the host the snapshot under a ref for each job; git sends what is not there."""
    refs = [f"{snapshot.commit}:{JOBS}/{job}" for job in jobs]
    connection.call_git("send the workspace", "push", "--quiet", "--no-verify", repository, *refs)


def _refuse_taken(names: list[str]) -> None:
    refs = run_git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    head = run_git("rev-parse", "HEAD").strip()
    for name in names:
        if f"refs/exps/{head[:2]}/{head[2:]}/{name}" in refs:
            raise Stop(f"an experiment '{name}' of this commit exists already; give another name by -n, or `dvc exp remove {name}`.")


def _refuse_full_disk(host: Host, size: int, free: int) -> None:
    if size > free:
        raise Stop(
            f"{host.name}: {size / 1e9:.1f} GB are to be sent and {free / 1e9:.1f} GB are free below {host.folder}; "
            "free some, or set another `folder` in remote.yaml."
        )


def _write_orders(
    host: Host, wish: Wish, snapshot: Snapshot, inputs: Inputs, tasks: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """The order of each task, with an id that is new on every host."""
    common = find_common_stages(list_swept_keys(wish.overrides)) if len(tasks) > 1 else []
    token, now = secrets.token_hex(3), time.time()
    shared = {
        "snapshot": snapshot.commit, "head": snapshot.head, "sweep": wish.name if len(tasks) > 1 else None,
        "common": common, "kind": "run", "submitted_at": now, "submitted_by": f"{getpass.getuser()}@{socket.gethostname()}",
        "inputs": inputs.objects if host.storage else [], "made_again": inputs.made_again, "host": host.name, **_describe_host(host),
    }  # fmt: skip
    return [{"id": f"{name}-{token}", "name": name, "overrides": sets, **shared} for name, sets in tasks.items()]


_SLURM = ("partition", "account", "gres", "cpus", "memory", "sbatch")


def _describe_host(host: Host) -> dict[str, Any]:
    """What the host's side has to know of its entry in remote.yaml."""
    known = host.model_dump(mode="json")
    kept = {key: known[key] for key in ("engine", "python", "venv", "setup", "storage", "environment")}
    limits = {"time_limit_s": known["time_limit"], "signal_before_s": known["signal_before"]}
    queue = {key: known[key] for key in _SLURM} if known["engine"] == "slurm" else None
    return {**kept, **limits, "gpus": known.get("gpus", "auto"), "slurm": queue}


def read_environment(host: Host) -> dict[str, str]:
    """The variables that remote.yaml lets pass; they go through the connection and are written nowhere."""
    missing = [name for name in host.environment if name not in os.environ]
    if missing:
        raise Stop(f"{missing[0]} is named in `environment` of {host.name} in remote.yaml and is not set here; `export` it.")
    return {name: os.environ[name] for name in host.environment}


def suggest_name() -> str:
    """A name for an experiment that has none yet."""
    from dvc.repo.experiments.utils import gen_random_name

    return gen_random_name()


