"""Folders of jobs as the host's side writes them, for tests of what reads them."""

import json
import time
from pathlib import Path


def add_job(there: Path, job: str, state: str = "queued", log: str = "", sweep: str | None = None, **facts) -> Path:
    """A job below the folder of a host; one that is `queued` has just been started."""
    folder = there / "jobs" / job
    folder.mkdir(parents=True)
    name = job.rpartition("-")[0]
    order = {
        "id": job,
        "name": name,
        "sweep": sweep,
        "engine": "ssh",
        "submitted_at": float(len(list(there.glob("jobs/*")))),
    }
    (folder / "job.json").write_text(json.dumps(order))
    (folder / "log.txt").write_bytes(log.encode())
    set_state(folder, state, **facts)
    return folder


def set_state(folder: Path, state: str, **facts) -> None:
    known = {"state": state, "changed_at": time.time()} | facts
    partial = folder / "state.new"
    partial.write_text(json.dumps(known))
    partial.replace(folder / "state.json")
