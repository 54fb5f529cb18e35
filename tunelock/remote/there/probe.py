"""What a node of a cluster is like: run there by `tunelock remote doctor` as a job of some seconds."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tunelock.remote.there.locking import count_gpus, is_held

_INDEX = "https://pypi.org/simple/"
_NO_LOCKS = "locks do not hold from machine to machine there, so two jobs may build the same environment at once"
_SECONDS = 5  # until an index that does not answer counts as out of reach
Line = tuple[bool | None, str]  # good, bad or neither, and the sentence


def look_around(folder: Path) -> Iterator[Line]:
    """What a job would find here. `folder` lies in the host's folder; the doctor holds a lock in it."""
    node, root = socket.gethostname(), folder.parent
    yield True, f"node {node} sees {root} and runs {sys.executable}"
    version = sys.version_info[:2] == (3, 11)
    yield version, f"its Python is {sys.version.split()[0]}" + ("" if version else "; set `python` to a CPython 3.11")
    locked = is_held(folder / "lock")
    yield locked, f"locks in {root} hold from machine to machine" if locked else _NO_LOCKS
    found = shutil.which("git")
    yield bool(found), f"git is {found}" if found else "there is no git on it; load its module in `setup`"
    yield _look_for_gpus()
    yield reach_index()


def _look_for_gpus() -> Line:
    gpus, given = count_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus:
        return True, f"it has {gpus} GPUs, of which the job may use {given or 'all'}"
    return None, "nvidia-smi shows no GPU on it" + (f", though Slurm gave the job GPU {given}" if given else "")


def reach_index() -> Line:
    """Whether packages could be fetched; not needed once an environment is there."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    index = os.environ.get("PIP_INDEX_URL") or told.stdout.strip() or _INDEX
    try:
        with urllib.request.urlopen(index, timeout=_SECONDS):  # noqa: S310 (the address is pip's own)
            return True, "it reaches the package index"
    except (OSError, ValueError):
        return None, (
            "it does not reach the package index; set `venv` to an environment that is there, or run "
            "a first job where the index can be reached"
        )


def main(folder: Path) -> None:
    """Write what is found to FOLDER/answer.json."""
    partial = folder / "answer.partial"
    partial.write_text(json.dumps(list(look_around(folder))), encoding="utf-8")
    os.replace(partial, folder / "answer.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
