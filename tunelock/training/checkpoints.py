"""Training checkpoints that are whole or absent, and belong to exactly one run."""

import re
import shutil
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tunelock.run.errors import Stop
from tunelock.run.files import read_json, whole_folder, write_json
from tunelock.run.hashing import hash_files

MANIFEST = "manifest.json"


@contextmanager
def write_checkpoint(root: Path, step: int, needs: Iterable[int] = ()):
    """Yield a folder to write a checkpoint into; it becomes `checkpoint-STEP` once its manifest is written.

    `needs` are the steps of earlier checkpoints without which this one is of no use: the best one, which the
    run hands on at its end.
    """
    path = root / f"checkpoint-{step}"
    with whole_folder(path) as folder:
        yield folder
        write_json(folder / MANIFEST, _make_manifest(path, needs, hash_files(folder)))


@contextmanager
def stop_at_full_disk(step: int):
    """Turn what a full disk makes of saving into a `Stop`."""
    try:
        yield
    except Stop:
        raise
    except Exception as error:
        # torch.save and safetensors have errors of their own for it, tokenizers a bare Exception.
        if not (isinstance(error, RuntimeError | SafetensorError) or type(error) is Exception):
            raise
        raise Stop(f"the checkpoint of step {step} cannot be written ({error}); free the disk and run again.") from None


def _make_manifest(checkpoint: Path, needs: Iterable[int], files: dict[str, str]) -> dict:
    """What a checkpoint says of itself: whose it is, what it needs, and the digest of each of its files."""
    return {"run": checkpoint.parent.name, "step": parse_step(checkpoint), "needs": sorted(set(needs)), "files": files}


def parse_step(checkpoint: Path) -> int:
    """The optimiser steps after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def is_whole(checkpoint: Path) -> bool:
    """True if run, step and files are those of the manifest, byte for byte, and what it needs is whole too."""
    try:
        said = read_json(checkpoint / MANIFEST)
    except Stop:
        return False
    needs = said.get("needs") if isinstance(said, dict) else None
    found = hash_files(checkpoint)
    found.pop(MANIFEST)
    return (
        isinstance(needs, list)
        and said == _make_manifest(checkpoint, needs, found)
        and all(
            step < parse_step(checkpoint) and is_whole(checkpoint.with_name(f"checkpoint-{step}")) for step in needs
        )
    )


def list_checkpoints(root: Path) -> dict[int, Path]:
    """The checkpoint folders below `root` by step, in ascending order; never by mtime, for clocks step back."""
    found = [path for path in root.glob("checkpoint-*") if re.fullmatch(r"checkpoint-[0-9]+", path.name)]
    return {parse_step(path): path for path in sorted(found, key=parse_step)}


def find_latest_whole(root: Path) -> Path | None:
    """The whole checkpoint with the highest step. Those of no use are named on stderr and removed."""
    for path in reversed(list_checkpoints(root).values()):
        if is_whole(path):
            return path
        print(f"{path}, or the best one before it, does not match its manifest; it is removed.", file=sys.stderr)
        remove_checkpoint(path)
    return None


def prune_checkpoints(root: Path, keep: Iterable[int]) -> None:
    """Remove every checkpoint but those at the steps in `keep`."""
    keep = set(keep)
    for step, path in list_checkpoints(root).items():
        if step not in keep:
            remove_checkpoint(path)


def remove_checkpoint(folder: Path) -> None:
    """Remove a folder so that a kill in between leaves no half of it under its name."""
    gone = folder.with_name(folder.name + ".partial")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)
