"""What a bucket needs beside a job's environment: dvc-s3, in a folder of its own, made once from locks/s3.txt.

The environment itself stays what its lock says.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tunelock.remote.there.installing import explain_failure, find_lock
from tunelock.remote.there.locking import hold
from tunelock.remote.there.refusal import Refused

_PIP = ("-m", "pip", "install", "--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check",
        "--no-color", "--progress-bar=off")  # fmt: skip


def ensure_storage_tools(
    root: Path, clone: Path, python: Path, say: Callable[[str], None], module: str = "dvc_s3"
) -> Path | None:
    """The folder to put on Python's path so that it finds `module`; None if it does without.

    It lies in `root/env/s3-HASH`, by the hash of the lock file; of two jobs that want it one makes it.

    Raises:
        Refused: the commit has no such lock, or the packages cannot be installed.
    """
    if _has_module(python, module):
        return None
    lock = find_lock(clone, "s3")
    path = root / "env" / f"s3-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    with hold(root / "locks" / f"env-{path.name}.lock", lambda: say("another job installs dvc-s3; waits for it")):
        if not path.exists():
            say(f"installs dvc-s3 from locks/{lock.name} into {path}")
            _install_tools(python, lock, path)
    return path


def _has_module(python: Path, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def _install_tools(python: Path, lock: Path, path: Path) -> None:
    """The packages of the lock in a folder that appears whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [str(python), *_PIP, "--target", str(partial), "-r", str(lock)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise Refused(explain_failure(done.stdout, lock, path))
    partial.replace(path)
