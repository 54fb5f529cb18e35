"""A job as files: its order, which `resume` alone changes, and what became of it, replaced whole at each step."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.remote.there.refusal import Refused

# A job passes from the left to the right; those behind `stopping` are ends, out of which `resume` leads back.
STATES = ("registered", "queued", "running", "stopping", "stopped", "done", "failed", "cancelled")
ENDS = ("stopped", "done", "failed", "cancelled")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class JobFolder(NamedTuple):
    """The folder of one job below `jobs/` of the host's folder."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def root(self) -> Path:
        """The host's folder, with the repository, the cache and the environments."""
        return self.path.parent.parent

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def clone(self) -> Path:
        return self.path / "clone"

    def read_order(self) -> dict[str, Any]:
        """What was asked for."""
        return _read(self.path / "job.json")

    def read_state(self) -> dict[str, Any]:
        """What became of it so far."""
        return _read(self.path / "state.json")

    def read_objects(self) -> list[list[Any]]:
        """(path below the cache, bytes) of what belongs to its result; empty before there is one."""
        path = self.path / "objects.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def write_order(self, order: dict[str, Any]) -> None:
        self.path.mkdir(parents=True)
        _write(self.path / "job.json", order)

    def change_order(self, news: dict[str, Any]) -> None:
        """Replace what is asked of the machine, such as time and memory."""
        _write(self.path / "job.json", self.read_order() | news)

    def update(self, **news: Any) -> dict[str, Any]:
        """Replace what is known by the same with `news`; a change of state notes its time."""
        known = _read(self.path / "state.json")
        if "state" in news and news["state"] != known.get("state"):
            news.setdefault("changed_at", time.time())
        _write(self.path / "state.json", known | news)
        return known | news


def find_jobs(root: Path, names: list[str]) -> list[JobFolder]:
    """The jobs with these ids; a name of an experiment or a sweep stands for its newest submission.

    Raises:
        Refused: no job is called so.
    """
    found = []
    for name in names:
        job = JobFolder(root / "jobs" / name)
        if _ID.fullmatch(name) and (job.path / "job.json").exists():
            found.append(job)
            continue
        called = [job for job in list_jobs(root) if name in (job.read_order()["name"], job.read_order()["sweep"])]
        if not called:
            raise Refused(f"no job '{name}' is known there; `tunelock remote status` lists those that are.")
        newest = called[-1].read_order()["submitted_at"]
        found += [job for job in called if job.read_order()["submitted_at"] == newest]
    return found


def list_jobs(root: Path) -> list[JobFolder]:
    """All jobs of the host, the oldest first."""
    found = [JobFolder(path.parent) for path in (root / "jobs").glob("*/job.json")]
    return sorted(found, key=lambda job: (job.read_order().get("submitted_at", 0), job.id))


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _write(path: Path, value: dict[str, Any]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(partial, path)
