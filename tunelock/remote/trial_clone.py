"""A clone of a snapshot on this machine, without data, in which DVC is asked what it would do on a host."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelock.remote.snapshot import Snapshot
from tunelock.remote.there.clone import set_up_clone
from tunelock.remote.there.refusal import Refused
from tunelock.run.errors import Stop
from tunelock.run.revisions import run_git

if TYPE_CHECKING:
    from dvc.repo import Repo


@contextmanager
def open_trial_clone(snapshot: Snapshot) -> Iterator[tuple["Repo", Path, dict[str, Any]]]:
    """This repository, a clone of the snapshot as the host makes it, and settings for DVC to use this cache there."""
    from dvc.repo import Repo

    store = run_git("rev-parse", "--path-format=absolute", "--git-common-dir").strip()
    root = run_git("rev-parse", "--show-toplevel").strip()
    with tempfile.TemporaryDirectory(prefix="tunelock-clone-") as folder, Repo(root) as home:
        clone = Path(folder).resolve() / "clone"
        try:
            set_up_clone(store, clone, snapshot.commit, snapshot.head)
        except Refused as refused:
            raise Stop(str(refused)) from None
        home.index.check_graph()  # what DVC cannot read here, it names by the path here
        settings = {"cache": {"dir": home.cache.local_cache_dir}, "core": {"site_cache_dir": f"{folder}/site"}}
        yield home, clone, settings


@contextmanager
def override_params(clone: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Files of params with the overrides, written by DVC itself; as they were after the block."""
    from dvc.utils.cli_parse import to_path_overrides

    by_file = to_path_overrides(overrides)
    before = {file: (clone / file).read_bytes() for file in by_file if (clone / file).is_file()}
    try:
        for file, parts in by_file.items():
            if file not in before:
                raise Stop(f"-S {parts[0]}: the snapshot has no {file}; name a file of params.")
            _override(clone / file, parts)
        yield
    finally:
        for file, content in before.items():
            (clone / file).write_bytes(content)


def _override(file: Path, parts: list[str]) -> None:
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    try:
        apply_overrides(file, parts)
    except DvcException as error:
        raise Stop(f"-S {' '.join(parts)}: DVC refuses it ({_name_cause(error)}); mend the value.") from None


def _name_cause(error: Exception) -> str:
    said = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return said[0].rstrip(".")
