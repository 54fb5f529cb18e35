"""What a host is told of a job: the order of each task, with an id that is new on every host."""

import getpass
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunelock.remote.hosts import Host
from tunelock.run.errors import Stop

_SLURM = ("partition", "account", "gres", "cpus", "memory", "sbatch")
_KEPT = ("engine", "python", "venv", "setup", "storage", "environment")


class Work(NamedTuple):
    """What the tasks of one submission share.

    `snapshot` is the commit that runs and `head` its baseline; `kind` is `run` or `verdict`. `inputs` are objects,
    (path below the cache, bytes), that the job itself has to look up, `common` the stages that tasks make once, and
    `made_again` those whose outs are nowhere.
    """

    kind: str
    snapshot: str
    head: str
    sweep: str | None = None
    inputs: Sequence[tuple[str, int]] = ()
    common: Sequence[str] = ()
    made_again: Sequence[str] = ()


def write_orders(host: Host, work: Work, tasks: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The order of each task, of which `tasks` has the name of its experiment and its overrides."""
    token, sender = secrets.token_hex(3), f"{getpass.getuser()}@{socket.gethostname()}"
    shared = work._asdict() | describe_host(host) | {"submitted_at": time.time(), "submitted_by": sender}
    return [
        {"id": f"{name}-{token}", "name": name, "overrides": overrides, **shared} for name, overrides in tasks.items()
    ]


def describe_host(host: Host) -> dict[str, Any]:
    """What the host's side has to know of its entry in remote.yaml."""
    known = host.model_dump(mode="json")
    kept = {key: known[key] for key in _KEPT} | {"host": host.name, "gpus": known.get("gpus", "auto")}
    limits = {"time_limit_s": known["time_limit"], "signal_before_s": known["signal_before"]}
    queue = {key: known[key] for key in _SLURM} if known["engine"] == "slurm" else None
    return {**kept, **limits, "slurm": queue}


def describe_resources(host: Host) -> dict[str, Any]:
    """What a job that starts again takes over from remote.yaml; where its data lies and who starts it stay."""
    return {key: value for key, value in describe_host(host).items() if key not in ("engine", "host", "storage")}


def read_environment(host: Host) -> dict[str, str]:
    """The variables that remote.yaml lets pass; they go through the connection and are written nowhere."""
    missing = [name for name in host.environment if name not in os.environ]
    if missing:
        raise Stop(
            f"{missing[0]} is named in `environment` of {host.name} in remote.yaml and is not set here; `export` it."
        )
    return {name: os.environ[name] for name in host.environment}
