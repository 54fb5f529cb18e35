"""A fresh clone on the host in which `dvc exp run` finds what `submit` found on the laptop."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from tunelock.remote.there.refusal import Refused

_IDENTITY = ("user.name", "user.email")
_SHARED = ("objects", "shallow")  # the store, and the list of commits whose parents it lacks


def set_up_clone(repo: Path | str, clone: Path | str, snapshot: str, head: str) -> None:
    """Make `clone` a working tree whose HEAD is `head`, and whose index and files are those of `snapshot`.

    Every change of the dirty workspace is then staged, files that are new to git among them, so the commit that
    `dvc exp run` makes holds them all and its parent is `head`. HEAD is detached: no branch moves. The clone borrows
    the objects of the bare `repo` instead of copying them, so `repo` has to keep the snapshot's ref while the clone
    lives. Commits made there carry the name of the snapshot's author. A folder that stands in the place of the clone
    is removed; what a link in it points to is left alone.

    Raises:
        Refused: git failed, or `head` is not the parent of `snapshot`.
    """
    repo, clone = Path(repo).absolute(), Path(clone).absolute()
    _check_parent(repo, snapshot, head)
    if clone.exists():
        shutil.rmtree(clone)
    clone.mkdir(parents=True)
    _borrow_objects(repo, clone)
    git = ("-c", "core.hooksPath=/dev/null")
    _run_git(*git, "update-ref", "--no-deref", "HEAD", head, folder=clone)
    for key, value in zip(_IDENTITY, _read_author(repo, snapshot), strict=True):
        _run_git("config", key, value, folder=clone)
    _run_git("config", "gc.auto", "0", folder=clone)
    _run_git(*git, "read-tree", "--reset", "-u", snapshot, folder=clone)


def _borrow_objects(repo: Path, clone: Path) -> None:
    """An empty repository that takes its objects from another one; `git clone --shared` does not with a shallow one."""
    _run_git("init", "--quiet", "--template=", folder=clone)
    _run_git("remote", "add", "origin", str(repo), folder=clone)
    objects, shallow = (repo / _run_git("rev-parse", "--git-path", name, folder=repo).rstrip("\n") for name in _SHARED)
    own = clone / ".git"
    (own / "objects/info").mkdir(parents=True, exist_ok=True)
    (own / "objects/info/alternates").write_bytes(os.fsencode(objects) + b"\n")
    if shallow.exists():
        shutil.copyfile(shallow, own / "shallow")


def _check_parent(repo: Path, snapshot: str, head: str) -> None:
    parents = _run_git("rev-parse", f"{snapshot}^@", folder=repo).split()
    if snapshot != head and parents != [head]:
        raise Refused(f"the parent of snapshot {snapshot[:12]} is {' '.join(parents) or 'none'}, not {head[:12]}.")


def _read_author(repo: Path, commit: str) -> list[str]:
    return _run_git("log", "-1", "--format=%an%x00%ae", commit, folder=repo).strip("\n").split("\0")


def _run_git(*arguments: str, folder: Path) -> str:
    """The output of one git command in that folder, whatever repository the environment names."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise Refused(f"`{' '.join(command)}` failed in {folder}: {said}")
    return done.stdout


def forget_stages(clone: Path | str, stages: Iterable[str]) -> None:
    """Take the entries of these stages out of dvc.lock in the clone, so that DVC runs them and enters them again.

    A stage is named as `dvc repro` takes it: `train`, `each@one`, `sub/dvc.yaml:train`.
    """
    by_lock: dict[Path, set[str]] = {}
    for stage in stages:
        file, colon, name = stage.rpartition(":")
        lock = Path(clone, file if colon else "dvc.yaml").with_name("dvc.lock")
        by_lock.setdefault(lock, set()).add(name)
    for lock, names in by_lock.items():
        if lock.exists():
            lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
            lock.write_text("".join(_drop_entries(lines, names)), encoding="utf-8")


def _drop_entries(lines: list[str], names: set[str]) -> Iterator[str]:
    """The lines of a dvc.lock without those entries: a stage's name stands two spaces in, what belongs to it deeper."""
    dropping = False
    for line in lines:
        depth = len(line) - len(line.lstrip(" "))
        if depth <= 2 and not line.startswith("  -"):
            dropping = depth == 2 and line.strip().rstrip(":").strip("'\"") in names
        if not dropping:
            yield line
