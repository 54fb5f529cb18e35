"""The environment of a job: a venv made from the lock file of its commit, built once and kept by its hash."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunelock.remote.there.installing import choose_lock, find_lock, install_launcher, install_locked, read_lock_pins
from tunelock.remote.there.locking import hold
from tunelock.remote.there.refusal import Refused

Say = Callable[[str], None]

_ABOUT = """
import json, platform, sys, sysconfig
about = [platform.python_implementation(), platform.python_version(), sysconfig.get_platform(), platform.machine()]
print(json.dumps(about))
"""
_PACKAGES = """
import importlib.metadata, json, re
found = importlib.metadata.distributions()
print(json.dumps({re.sub("[-_.]+", "-", package.metadata["Name"]).lower(): package.version for package in found}))
"""
_OF_CUDA = ("cuda-", "nvidia-", "triton")  # packages of torch's CUDA build, which a container may have in another form
_SHOWN = 5  # packages that a sentence names


def ensure_environment(folder: Path, clone: Path, python: str, venv: str | None, say: Say) -> Path:
    """The folder `bin` of an environment with the packages that the clone's lock names.

    It lies in `folder/env/HASH` and is built if it is not there whole; of two jobs that want it one builds and the
    other waits. With `venv` nothing is built: what is installed there has to be what the lock names.

    Raises:
        Refused: there is no such Python, other packages lie in `venv`, or the packages cannot be installed.
    """
    if venv:
        return _take_venv(Path(os.path.expanduser(venv)), clone, say)
    lock = find_lock(clone, choose_lock())
    about = _ask_python(os.path.expanduser(python), _ABOUT)
    if not about[1].startswith("3.11."):
        raise Refused(
            f"{python} is Python {about[1]} there; name a Python 3.11 as `python` of the host in remote.yaml."
        )
    name = hash_environment(lock, about)
    path = folder / "env" / name
    with hold(folder / "locks" / f"env-{name}.lock", lambda: say("another job builds the environment; waits for it")):
        if not _is_whole(path):
            _build(path, lock, os.path.expanduser(python), say)
        install_launcher(clone, path / "bin")
    return path / "bin"


def hash_environment(lock: Path, about: list[str]) -> str:
    """The name of an environment: of its lock file's text and of the Python, platform and machine that it is for."""
    return hashlib.sha256(json.dumps([lock.read_text(encoding="utf-8"), *about]).encode()).hexdigest()[:16]


def _is_whole(path: Path) -> bool:
    """Whether an environment was built to its end and its Python is still there."""
    return (path / "done").exists() and os.access(path / "bin/python", os.X_OK)


def _build(path: Path, lock: Path, python: str, say: Say) -> None:
    """Build an environment in place, for a venv cannot be moved; half of one is thrown away first."""
    shutil.rmtree(path, ignore_errors=True)
    last = _read_last_build(path.parent)
    took = f"the last one took {last / 60:.0f} min" if last else "this takes some minutes"
    say(f"builds the environment of locks/{lock.name} in {path}; {took}")
    start = time.monotonic()
    make_venv(python, path)
    install_locked(path, lock, say)
    seconds = time.monotonic() - start
    (path / "done").write_text(json.dumps({"lock": lock.stem, "seconds": round(seconds, 1)}), encoding="utf-8")
    say(f"the environment is built, in {seconds / 60:.1f} min")


def make_venv(python: str, path: Path) -> None:
    """An empty venv with pip.

    Raises:
        Refused: this Python cannot make one.
    """
    done = subprocess.run([python, "-m", "venv", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(_explain_venv(python, path, done.stdout + done.stderr))


def _explain_venv(python: str, path: Path, said: str) -> str:
    if "No space left" in said:
        return f"the disk of {path} is full; free some, or take another `folder` for this host in remote.yaml."
    if "ensurepip" in said:
        return f"{python} there cannot make a venv; install Debian's python3.11-venv there, or name another `python`."
    return f"`{python} -m venv {path}` failed there: {(said.strip() or 'it said nothing').splitlines()[-1]}"


def _read_last_build(folder: Path) -> float:
    """Seconds that the newest environment took to build; 0 if none is known."""
    marks = sorted(folder.glob("*/done"), key=lambda mark: mark.stat().st_mtime)
    return json.loads(marks[-1].read_text(encoding="utf-8"))["seconds"] if marks else 0


def _take_venv(venv: Path, clone: Path, say: Say) -> Path:
    """The folder `bin` of a venv that somebody else made, if it has what the clone's lock names."""
    python = venv / "bin/python"
    if not python.exists():
        raise Refused(f"`venv` of this host is {venv}, and there is no {python}; name a folder with bin/python.")
    lock = clone / "locks" / f"{choose_lock()}.txt"
    if not lock.exists():
        say(f"this commit has no locks/{lock.name}; what is installed in {venv} is taken as it is")
        return venv / "bin"
    differing = compare_packages(read_lock_pins(lock), _read_installed(python))
    if differing:
        more = f"; {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise Refused(
            f"{venv} has not what locks/{lock.name} names: {'; '.join(differing[:_SHOWN])}{more}. Run `{python} -m pip "
            f"install --no-deps --require-hashes -r locks/{lock.name}` there, or leave out `venv` of this host in "
            "remote.yaml."
        )
    return venv / "bin"


def _read_installed(python: Path) -> dict[str, str]:
    """Version by name of what a Python has installed."""
    return _ask_python(str(python), _PACKAGES)


def compare_packages(wanted: dict[str, str], installed: dict[str, str]) -> list[str]:
    """What differs, one package each. Of a build ("+cpu", "+cu130") only the version counts, as pip has it too.

    CUDA's own packages may be missing: where torch came another way, CUDA did too.
    """
    differing = []
    for name, version in wanted.items():
        found = installed.get(name)
        if found is None and not name.startswith(_OF_CUDA):
            differing.append(f"{name} {version} is missing")
        elif found and found.split("+")[0] != version.split("+")[0]:
            differing.append(f"{name} is {found} instead of {version}")
    return differing


def _ask_python(python: str, code: str) -> Any:
    """What a Python there prints, as JSON."""
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        raise Refused(
            f"{python} is not found there; name another one as `python` of the host in remote.yaml, or load its module "
            "in `setup`."
        ) from None
    if done.returncode:
        raise Refused(f"{python} does not work there: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout)
