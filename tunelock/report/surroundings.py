"""Where and when a report was made: versions, hardware, commit. No stage may know this; the report may."""

import os
import platform
import re
import tomllib
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from tunelock.run.errors import Stop
from tunelock.run.hardware import list_gpu_names, read_field
from tunelock.run.revisions import run_git


class _Commit(NamedTuple):
    """The commit that is checked out, and the files that differ from it."""

    sha: str
    subject: str
    branch: str
    changed: list[str]


class Surroundings(NamedTuple):
    """Where and when a report was made. versions: of each dependency; machine: what it has, by name."""

    made: str
    commit: _Commit | None
    versions: dict[str, str]
    machine: dict[str, str]


def describe_surroundings() -> Surroundings:
    """The minute, the commit, the version of each dependency, and the machine."""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Surroundings(made, read_commit(), read_versions(), _describe_machine())


def read_commit() -> _Commit | None:
    """The commit that is checked out; None where there is none."""
    try:
        sha, subject = run_git("log", "-1", "--format=%H%n%s").split("\n", 1)
        branch, changed = run_git("branch", "--show-current").strip(), run_git("status", "--porcelain").splitlines()
    except Stop:
        return None
    return _Commit(sha, subject.strip(), branch, [line[3:] for line in changed])


def read_versions() -> dict[str, str]:
    """Python's version and that of each of the project's dependencies."""
    listed = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    versions = {"Python": platform.python_version()}
    for requirement in listed:
        name = re.split(r"[^\w.-]", requirement)[0]
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _describe_machine() -> dict[str, str]:
    """Processor, cores, memory, GPUs and system of the machine that made the report."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": read_field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 1e9:.1f} GB",
        "GPU": ", ".join(list_gpu_names()) or "none",
        "system": platform.platform(terse=True),
    }
