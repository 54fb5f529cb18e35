"""The GPUs of a host, and whether their driver is new enough; with what the doctor's checks share."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)")  # the newest CUDA that the driver runs
# "Minor version compatibility" of NVIDIA's CUDA Compatibility guide: a driver runs every CUDA of its major version.
_DRIVERS = {12: 525, 13: 580}
_SECONDS = 30  # for a program that is asked


class HostFinding(NamedTuple):
    """A line of the doctor. `good` is None where it is worth knowing and neither good nor bad."""

    topic: str
    good: bool | None
    sentence: str


class Need(NamedTuple):
    """What a job of this project needs there, as the machine at home knows it."""

    python: str
    venv: str | None
    gpus: Any  # as in remote.yaml
    queue_gpus: bool | None  # whether jobs get GPUs from a queue; None where there is none, and a look says it
    locks: dict[str, str]  # text of the lock files by name
    run_bytes: int  # of data and results of a run


def count_usable_gpus(need: Need) -> int:
    """The GPUs that jobs may take."""
    shown = len(_list_gpus())
    return shown if need.gpus == "auto" else min(shown, len(need.gpus))


def check_gpus(need: Need) -> Iterator[HostFinding]:
    """The GPUs, and whether their driver runs the torch of the lock file."""
    gpus = _list_gpus()
    if not gpus:
        good = None if need.gpus in ("auto", []) else False
        yield HostFinding("gpu", good, "nvidia-smi shows no GPU; jobs would run on the CPU, one at a time.")
        return
    yield HostFinding("gpu", True, f"{len(gpus)} x {gpus[0]}")
    missing = [number for number in ([] if need.gpus == "auto" else need.gpus) if number >= len(gpus)]
    if missing:
        yield HostFinding(
            "gpu", False, f"`gpus` names number {missing[0]}, and they are 0 to {len(gpus) - 1}; mend it."
        )
    wanted = re.search(r"^nvidia-cuda-runtime\S*==(\d+)\.(\d+)", need.locks.get("cuda", ""), re.MULTILINE)
    if wanted and not need.venv:
        yield check_driver(print_of("nvidia-smi"), int(wanted[1]), int(wanted[2]))


def check_driver(shown: str, major: int, minor: int) -> HostFinding:
    """Whether the driver, by what nvidia-smi shows, runs the CUDA of the lock file."""
    found = _CUDA.search(shown)
    if not found:
        return HostFinding("driver", None, "nvidia-smi does not say which CUDA its driver runs")
    has, needs = f"the driver runs CUDA up to {found[1]}.{found[2]}", f"torch of locks/cuda.txt needs {major}.{minor}"
    if int(found[1]) >= major:
        return HostFinding("driver", True, f"{has}; {needs}")
    newer = f"{_DRIVERS[major]} or newer" if major in _DRIVERS else "a newer one"
    return HostFinding("driver", False, f"{has}, and {needs}; ask for a driver of {newer}, or set `gpus: 0`.")


def _list_gpus() -> list[str]:
    """Name and memory of each."""
    fields = "--query-gpu=name,memory.total,driver_version"
    lines = print_of("nvidia-smi", fields, "--format=csv,noheader").splitlines()
    cells = [line.split(", ") for line in lines if line.count(", ") == 2]
    return [f"{name}, {memory}, driver {driver}" for name, memory, driver in cells]


def print_of(*command: str) -> str:
    """What a program prints; empty where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
