"""Where and when a report was made: versions, hardware, commit. No stage may know this; the report may."""

import os
import platform
import re
import tomllib
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tunelock.run.errors import Stop
from tunelock.run.revisions import run_git


def surroundings() -> dict:
    """The machine, the commit, the minute, and the version of each dependency that is installed."""
    return {"made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "commit": commit(), "versions": versions(),
            "machine": machine()}  # fmt: skip


def commit() -> dict | None:
    """Hash, branch and subject of the commit, and how many files differ from it; None where there is no commit."""
    try:
        sha, subject = run_git("log", "-1", "--format=%H%n%s").split("\n", 1)
        branch, changed = run_git("branch", "--show-current").strip(), run_git("status", "--porcelain").splitlines()
    except Stop:
        return None
    return {"sha": sha, "subject": subject.strip(), "branch": branch, "changed": [line[3:] for line in changed]}


def versions() -> dict[str, str]:
    """Python's version and that of each of the project's dependencies."""
    listed = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {"Python": platform.python_version()}
    for name in (re.split(r"[^\w.-]", requirement)[0] for requirement in listed):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, str]:
    """Processor, cores, memory, GPUs and system of the machine that made the report."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 1e9:.1f} GB",
        "GPU": ", ".join(gpus()) or "none",
        "system": platform.platform(terse=True),
    }


def gpus(folder: Path | str = "/proc/driver/nvidia/gpus") -> list[str]:
    """Names of NVIDIA's GPUs as their driver lists them: asking torch would take seconds."""
    files = sorted(Path(folder).glob("*/information"))
    return [found for found in (field(file, "Model") for file in files) if found]


def field(file: Path | str, key: str) -> str | None:
    """The value of the first `key: value` line of a file of the kernel's; None without one."""
    try:
        found = re.search(rf"^{key}\s*:\s*(.+)$", Path(file).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return found and found[1].strip()
