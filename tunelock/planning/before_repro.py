"""What `make repro` says before it installs or runs anything: what it will do, minutes, disk, memory.

    python3.11 -m tunelock.planning.before_repro VENV

Standard library only, for the environment may not be there yet. The figures are those of the run that git has:
metrics/timings.json and the sizes in dvc.lock.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

if sys.version_info[:2] != (3, 11):
    found = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"make repro needs Python 3.11, this is {found}; name one that you have: make repro PYTHON=python3.11")

from tunelock.run.errors import Stop
from tunelock.run.files import read_json
from tunelock.run.free_memory import measure_free_ram
from tunelock.run.terminal import format_duration

GB = 1e9  # bytes
VENV_BYTES = 3 * GB  # torch's CPU build with all the rest, 2.6 GB measured; a CUDA build takes 5 GB more
COPIES = 2  # an out lies in the workspace and in DVC's cache
CERTAIN = 1.5  # times what is free: the need is that of another machine, so below it we only warn


class Needs(NamedTuple):
    """What a run takes: seconds, and bytes of disk and memory (None where no run is known); where it installs."""

    stages: int
    seconds: float | None
    disk: float
    memory: float | None
    installs: Path | None


class Free(NamedTuple):
    """Free bytes of disk and memory."""

    disk: float
    memory: float


class _LockedOut(NamedTuple):
    """An out of dvc.lock and its bytes."""

    path: str
    size: int


def _read_locked_outs(lock: str) -> list[_LockedOut]:
    """The outs in the text of a dvc.lock, whose form DVC fixes; YAML's parsers are not installed yet."""
    outs, section, path = [], "", ""
    for line in lock.splitlines():
        if found := re.fullmatch(r"    (\w+):", line):
            section = found[1]
        elif found := re.fullmatch(r"    - path: (.+)", line):
            path = found[1]
        elif (found := re.fullmatch(r"      size: (\d+)", line)) and section == "outs":
            outs.append(_LockedOut(path, int(found[1])))
    return outs


def read_stage_names(dag: str) -> list[str]:
    """The stages in the text of a dvc.yaml."""
    below = re.split(r"^stages:\n", dag, flags=re.MULTILINE)[1]
    return re.findall(r"^  (\w+):$", re.split(r"^\w", below, flags=re.MULTILINE)[0], re.MULTILINE)


def read_needs(venv: Path) -> Needs:
    """What a run in the current folder takes; what is there already takes no disk."""
    stages = read_stage_names(Path("dvc.yaml").read_text())
    timings = read_json("metrics/timings.json") if Path("metrics/timings.json").exists() else {}
    seconds = [timings[f"{name}_seconds"] for name in stages if f"{name}_seconds" in timings]
    memory = [timings[f"{name}_peak_rss_gb"] for name in stages if f"{name}_peak_rss_gb" in timings]
    lock = Path("dvc.lock").read_text() if Path("dvc.lock").exists() else ""
    missing = [out.size for out in _read_locked_outs(lock) if not Path(out.path).exists()]
    disk = COPIES * sum(missing) + (0 if (venv / "done").exists() else VENV_BYTES)
    installs = None if _is_installed(venv) else venv
    return Needs(len(stages), sum(seconds) or None, disk, max(memory) * GB if memory else None, installs)


def _is_installed(venv: Path) -> bool:
    """Whether make would find the environment as new as the files that it is made from."""
    done, pins = venv / "done", [Path("pyproject.toml"), *Path("locks").glob("c*.txt")]
    return done.exists() and all(pin.stat().st_mtime <= done.stat().st_mtime for pin in pins)


def describe_needs(needs: Needs, free: Free) -> str:
    """Lines for people: what is done, what it takes, how long."""
    installation = f"installs the pinned packages into {needs.installs}, then " if needs.installs else ""
    lines = [f"make repro {installation}runs those of the {needs.stages} stages whose inputs changed."]
    takes = f"It takes {needs.disk / GB:.1f} GB of disk ({free.disk / GB:.0f} GB are free)"
    if needs.memory:
        takes += f" and {needs.memory / GB:.1f} GB of memory ({free.memory / GB:.0f} GB are free)"
    lines.append(f"{takes}.")
    if needs.seconds:
        duration = format_duration(needs.seconds, rounded=True)
        apart = ", the installation apart" if needs.installs else ""
        lines.append(f"All stages took {duration} on the machine that made metrics/timings.json{apart}.")
    return "\n".join(lines)


def check_needs(needs: Needs, free: Free) -> str:
    """What may be short, in a sentence; empty if nothing is.

    Raises:
        Stop: there is clearly too little disk or memory.
    """
    if needs.disk > free.disk:
        raise Stop(
            f"make repro needs {needs.disk / GB:.1f} GB of disk and {free.disk / GB:.1f} GB are free here; free some."
        )
    if not needs.memory or needs.memory <= free.memory:
        return ""
    said = f"training took {needs.memory / GB:.1f} GB of memory and {free.memory / GB:.1f} GB are free here"
    if needs.memory > CERTAIN * free.memory:
        raise Stop(f"{said}; close other programs, or lower per_device_train_batch_size in params.yaml.")
    return f"Memory may be short: {said}."


def main(venv: str) -> None:
    """Say it, and stop if it cannot work."""
    needs, free = read_needs(Path(venv)), Free(shutil.disk_usage(".").free, measure_free_ram())
    print(describe_needs(needs, free))
    try:
        if warning := check_needs(needs, free):
            print(warning, file=sys.stderr)
    except Stop as stop:
        sys.exit(str(stop))


if __name__ == "__main__":
    main(sys.argv[1])
