"""Training checkpoints that are whole or absent, and belong to exactly one run."""

import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from stages.lib.errors import Stop
from stages.lib.files import read_json, whole_folder, write_json
from stages.lib.hashing import file_hashes

MANIFEST = "manifest.json"


def checkpoint_root(stage: str, key: str) -> Path:
    """Where the checkpoints of the run with this key live.

    Outside the stage's outs, which DVC deletes before a run, and in the main clone even when an experiment
    runs in a temporary one, so that it resumes there too.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".ckpt" / stage / key


@contextmanager
def new_checkpoint(root: Path, step: int):
    """Yield a folder to write a checkpoint into; it becomes `checkpoint-STEP` once its manifest is written."""
    with whole_folder(root / f"checkpoint-{step}") as folder:
        yield folder
        write_json(folder / MANIFEST, file_hashes(folder))


def is_whole(checkpoint: Path) -> bool:
    """True if the files of a checkpoint are those of its manifest, byte for byte."""
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        return False
    found = file_hashes(checkpoint)
    found.pop(MANIFEST)
    try:
        return found == read_json(manifest)
    except Stop:
        return False


def checkpoints(root: Path) -> dict[int, Path]:
    """The checkpoint folders below `root` by step, in ascending order; never by mtime, for clocks step back."""
    found = {int(path.name.rpartition("-")[2]): path for path in root.glob("checkpoint-*") if path.name[-1].isdigit()}
    return dict(sorted(found.items()))


def latest_whole(root: Path) -> Path | None:
    """The whole checkpoint with the highest step. Damaged ones are named on stderr and removed."""
    for path in reversed(checkpoints(root).values()):
        if is_whole(path):
            return path
        print(f"{path} does not match its manifest; it is removed.", file=sys.stderr)
        shutil.rmtree(path)
    return None


def prune(root: Path, keep: Iterable[int]) -> None:
    """Remove every checkpoint but those at the steps in `keep`."""
    keep = set(keep)
    for step, path in checkpoints(root).items():
        if step not in keep:
            shutil.rmtree(path)
