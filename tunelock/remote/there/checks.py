"""What `tunelock remote doctor` finds on the host: programs, room, locks, links, GPUs, the environment."""

import fcntl
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tunelock.remote.there.gpu_checks import HostFinding, Need, check_gpus, count_usable_gpus, print_of
from tunelock.remote.there.probe import reach_index

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file
_ENVIRONMENT = {"cpu": 3e9, "cuda": 9e9}  # bytes of an environment, by its lock file
_SPARE = 2e9  # bytes for logs, clones and checkpoints of a small model


def check_machine(root: Path, need: Need) -> Iterator[HostFinding]:
    """All that can be seen without starting a job. Makes the host's folder."""
    root.mkdir(parents=True, exist_ok=True)
    cuda = need.queue_gpus if need.queue_gpus is not None else count_usable_gpus(need) > 0
    yield _look_at_python(need)
    yield _check_git()
    made = _find_environment(root, need, cuda)
    yield _check_room(root, need, 0 if made or need.venv else _ENVIRONMENT["cuda" if cuda else "cpu"])
    yield _check_locks(root)
    yield _check_links(root)
    if need.queue_gpus is None:
        yield from check_gpus(need)
    yield from _check_environment(root, need, made)


def _look_at_python(need: Need) -> HostFinding:
    version, where = platform.python_version(), f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info[:2] == (3, 11):
        return HostFinding("python", True, f"{where} ({sys.executable})")
    if need.venv:
        return HostFinding("python", None, f"{where}; jobs use that of `venv`")
    return HostFinding(
        "python", False, f"`{need.python}` is Python {version}; set `python` to the path of a CPython 3.11."
    )


def _check_git() -> HostFinding:
    if not shutil.which("git"):
        return HostFinding("git", False, "git is not found; install it, or put it on PATH in ~/.bashrc there.")
    return HostFinding("git", True, print_of("git", "--version").strip().removeprefix("git version "))


def _check_room(root: Path, need: Need, environment: float) -> HostFinding:
    free, wanted = shutil.disk_usage(root).free, environment + need.run_bytes + _SPARE
    parts = f"{environment / 1e9:.0f} for the environment, " if environment else ""
    sentence = f"{free / 1e9:.0f} GB are free below {root}, and a run needs {wanted / 1e9:.0f} GB"
    sentence += f" ({parts}{need.run_bytes / 1e9:.1f} for its data and results)"
    return (
        HostFinding("disk", True, sentence) if free > wanted else HostFinding("disk", False, f"{sentence}; free some.")
    )


def _check_locks(root: Path) -> HostFinding:
    """Whether a second holder is kept out, as jobs count on."""
    with tempfile.NamedTemporaryFile(dir=root, prefix=".doctor-") as first, open(first.name) as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX)
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return HostFinding("locks", True, "locks work in its folder")
        except OSError as error:
            said = f"its folder's file system takes no locks ({error.strerror}); set `folder` to another one."
            return HostFinding("locks", False, said)
    return HostFinding("locks", False, "its folder's file system does not keep locks; set `folder` to another one.")


def _check_links(root: Path) -> HostFinding:
    """How DVC would give a job the files of the cache: what it tries first and works is taken."""
    with tempfile.TemporaryDirectory(dir=root, prefix=".doctor-") as folder:
        source, target = Path(folder, "object"), Path(folder, "file")
        source.write_bytes(b"x" * 4096)
        for name, link in (("reflink", _make_reflink), ("hardlink", os.link), ("symlink", os.symlink)):
            with suppress(OSError):
                link(source, target)
                return HostFinding("links", True, f"{name}: a job's copy of the data takes no room")
            target.unlink(missing_ok=True)
    return HostFinding("links", None, "copy: each job takes the room of its data once more while it runs")


def _make_reflink(source: Path, target: Path) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        fcntl.ioctl(new, _FICLONE, old.fileno())


def _check_environment(root: Path, need: Need, made: str | None) -> Iterator[HostFinding]:
    """Whether jobs find their packages, or what it takes to bring them."""
    if need.venv:
        python = Path(os.path.expanduser(need.venv), "bin/python")
        sentence = f"jobs use {python}" if python.exists() else f"there is no {python}; mend `venv` of the host."
        yield HostFinding("packages", python.exists(), sentence)
        return
    if made:
        yield HostFinding("packages", True, f"the environment of this lock is there ({root / 'env' / made})")
        return
    good, sentence = reach_index()
    yield HostFinding(
        "packages", None, "the environment is not there; the first job makes it, in minutes, or now --install"
    )
    yield HostFinding("index", good, sentence)


def _find_environment(root: Path, need: Need, cuda: bool) -> str | None:
    """The name of the environment of this lock and this Python, if it is there whole."""
    name = "cuda" if cuda else "cpu"
    if name not in need.locks:
        return None
    from tunelock.remote.there.environment import hash_environment

    about = [platform.python_implementation(), platform.python_version(), sysconfig.get_platform(), platform.machine()]
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, f"{name}.txt")
        lock.write_text(need.locks[name], encoding="utf-8")
        found = hash_environment(lock, about)
    return found if (root / "env" / found / "done").exists() else None


def install_environment(root: Path, files: dict[str, str], need: Need, say: Callable[[str], None]) -> str:
    """Make the environment ahead of a job; `files` are those of a clone that it is made from, text by path."""
    from tunelock.remote.there.environment import ensure_environment

    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return str(ensure_environment(root, Path(folder), need.python, need.venv, say))
