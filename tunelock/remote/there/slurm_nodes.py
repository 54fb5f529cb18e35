"""The nodes of a cluster: which partitions there are, and what a job may ask for in them."""

import re
from typing import Any, NamedTuple

from tunelock.remote.there.slurm_calls import run_slurm

_TIME = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")  # [[days-]hours:]minutes:seconds
_UNITS = {"": 1, "M": 1, "G": 1024, "T": 1024**2}
_FIELDS = "%P|%a|%l|%c|%m|%t|%D|%G"


class Nodes(NamedTuple):
    """The nodes of one kind and one state in a partition: a line of sinfo."""

    partition: str
    default: bool
    up: bool  # whether the partition takes jobs
    limit: int | None  # seconds that a job may take; None for no limit
    cpus: int
    memory: int  # MB
    state: str
    number: int
    gpus: dict[str, int]  # of each type; "" where Slurm knows no type

    def __str__(self) -> str:
        gpus = [f"gpu:{kind}:{count}" if kind else f"gpu:{count}" for kind, count in self.gpus.items()]
        return f"{self.cpus} CPUs, {self.memory // 1024}G memory and {' and '.join(gpus) or 'no GPU'}"


def list_nodes() -> list[Nodes]:
    """All nodes of the cluster."""
    return [_read_nodes(line) for line in run_slurm("sinfo", "-h", "-e", "-o", _FIELDS).splitlines()]


def pick_nodes(nodes: list[Nodes], partition: str | None) -> list[Nodes]:
    """Those of a partition; None is for the default one."""
    return [one for one in nodes if one.partition == partition or (partition is None and one.default)]


def has_what_is_asked(nodes: Nodes, queue: dict[str, Any]) -> bool:
    """Whether a job with these `cpus`, `memory` and `gres` fits on an empty node of this kind."""
    return queue["cpus"] <= nodes.cpus and _read_megabytes(queue["memory"]) <= nodes.memory and has_gpus(nodes, queue)


def has_gpus(nodes: Nodes, queue: dict[str, Any]) -> bool:
    """Whether a node of this kind has the GPUs of `gres`; what is no GPU is not looked at."""
    for kind, count in _read_gres(queue["gres"] or "").items():
        if count > (nodes.gpus.get(kind, 0) if kind else sum(nodes.gpus.values())):
            return False
    return True


def read_limit(text: str) -> int | None:
    """Seconds of Slurm's `days-hours:minutes:seconds`; None for `infinite` and the like."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def count_minutes(seconds: float) -> int:
    """Slurm counts time limits in whole minutes."""
    return max(1, int(-(-seconds // 60)))


def _read_nodes(line: str) -> Nodes:
    name, up, limit, cpus, memory, state, count, gres = line.split("|", 7)
    return Nodes(
        name.rstrip("*"), name.endswith("*"), up == "up", read_limit(limit), int(cpus), int(memory), state, int(count),
        _read_gres(gres),
    )  # fmt: skip


def _read_gres(text: str) -> dict[str, int]:
    """GPUs by type of `gpu:2`, `gpu:a100:4(S:0-1),gpu:v100:2`, `gpu`."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        name, *rest = re.split("[:=]", part.strip())
        if name == "gpu":
            kind = rest[0] if rest and not rest[0].isdigit() else ""
            found[kind] = found.get(kind, 0) + (int(rest[-1]) if rest and rest[-1].isdigit() else 1)
    return found


def _read_megabytes(text: str | None) -> int:
    found = re.fullmatch(r"(\d+)([MGT]?)", text or "0")
    return int(found[1]) * _UNITS[found[2]] if found else 0
