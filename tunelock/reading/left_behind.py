"""Data that an experiment goes without: in the clone where it was started, but not in git."""

import os
from pathlib import Path

from tunelock.reading.file_names import matches_glob, normalise_name, spell_as_on_disk, split_glob
from tunelock.reading.raw_files import is_hidden, is_supported
from tunelock.run.errors import Stop
from tunelock.run.revisions import run_git


def refuse_left_behind(path: str, root: Path) -> None:
    """Stop at a file of a local source that this experiment's copy lacks because git does not have it.

    `dvc exp run --temp` and `--queue` run in a copy of what git has. $DVC_ROOT is then the clone that they were started
    in; in any other run of DVC it is the working folder.
    """
    clone = Path(os.environ.get("DVC_ROOT") or root).resolve()
    base = spell_as_on_disk(clone.joinpath(*split_glob(path).base))
    if clone == root.resolve() or Path(path).is_absolute() or base is None:
        return
    untracked = run_git("-C", str(clone), "--literal-pathspecs", "ls-files", "--others", "-z", "--", str(base))
    for name in filter(is_supported, untracked.split("\0")):
        if not _is_meant(name, path) or is_hidden(name) or _is_of_dvc(name, root):
            continue
        if spell_as_on_disk(root / name) is None:
            raise Stop(
                f"{normalise_name(name)} is in {clone}, but git does not have it, so this experiment's copy lacks it; "
                "`git add` it, or its .dvc file after `dvc add`, and run the experiment again."
            )


def _is_meant(name: str, path: str) -> bool:
    """Whether the path of a source is this file, a folder with it, or a glob that it matches."""
    folder = Path(normalise_name(path))
    return Path(normalise_name(name)).is_relative_to(folder) or matches_glob(name, path)


def _is_of_dvc(name: str, root: Path) -> bool:
    """Whether DVC tracks this file or a folder above it: then it is to be pulled, and git has its .dvc file."""
    return any(spell_as_on_disk(root / f"{place}.dvc") for place in (Path(name), *Path(name).parents))
