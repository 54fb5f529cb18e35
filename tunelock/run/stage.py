"""What every stage does around its work: lock, fingerprint, params, plain errors, timings."""

import errno
import fcntl
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tunelock.run
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path, sha256_value
from tunelock.run.machines import record_machine
from tunelock.run.params import Params, read_declared_params, read_stage_entry
from tunelock.run.stop_requests import StoppedOnRequest, heed_stops, ignore_stops
from tunelock.run.terminal import announce_end, announce_start
from tunelock.run.timings import describe_last_run, record_timing

StageMain = Callable[[Any, str], str]  # from its params and its fingerprint to what came out, in one sentence
FULL_OR_READ_ONLY = {errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EDQUOT}


def stage(name: str) -> Callable[[StageMain], Callable[[], None]]:
    """Make `main(params, fingerprint)`, which returns what came out in one sentence, the body of a stage of `dvc.yaml`.

    `fingerprint` is the digest of the command, the declared params and the content of every
    dependency. It is taken before the work and again after it, because DVC hashes its inputs only
    after the command: an edit made meanwhile would be locked with the old result.
    """

    def decorate(main: StageMain) -> Callable[[], None]:
        @functools.wraps(main)
        def run() -> None:
            with plain_errors(name), heed_stops(), hold_lock(name):
                entry = read_stage_entry(name)
                announce_start(name, entry.get("desc", entry["cmd"]), describe_last_run(name, entry))
                before = _hash_inputs(entry)
                _refuse_young_code(entry)
                outcome = main(Params(name, read_declared_params(entry)), sha256_value(before))
                ignore_stops()
                _refuse_changes(before, _hash_inputs(read_stage_entry(name)))
                seconds = time.time() - tunelock.run.STARTED
                record_timing(name, entry, seconds)
                record_machine(name, entry)
                announce_end(name, outcome, seconds)

        return run

    return decorate


@contextmanager
def plain_errors(name: str) -> Iterator[None]:
    """Turn `Stop` into one line on stderr and exit code 1, and a stop on request into one and 75."""
    try:
        yield
    except StoppedOnRequest as stop:
        print(f"{name}: {stop.sentence}", file=sys.stderr, flush=True)
        raise
    except Stop as stop:
        sys.exit(f"{name}: {stop}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; run the same command again, training goes on from its last checkpoint.")
    except OSError as error:
        if error.errno not in FULL_OR_READ_ONLY:
            raise
        sys.exit(f"{name}: cannot write {error.filename or 'an output'} ({error.strerror}); free the disk or "
                 "its permissions and run the same command again.")  # fmt: skip


@contextmanager
def hold_lock(name: str, folder: Path | str = ".ckpt") -> Iterator[None]:
    """Hold an exclusive lock for `name` in `folder`: `kill -9` of DVC alone leaves the stage's process running."""
    path = Path(folder) / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise Stop(
                f"process {pid} is already running this stage here; wait for it or stop it with `kill {pid}`."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)  # a number that stays would be another process's one day, and it is sent signals


def _hash_inputs(entry: dict[str, Any]) -> dict[str, str]:
    """Digest of each thing that a `dvc.yaml` entry says its result depends on."""
    missing = [path for path in entry.get("deps", []) if not Path(path).exists()]
    if missing:
        raise Stop(f"{missing[0]} is missing; run `dvc repro` to make it.")
    hashes = {path: sha256_path(path) for path in entry.get("deps", [])}
    hashes |= {f"param {key}": sha256_value(value) for key, value in read_declared_params(entry).items()}
    return hashes | {"cmd": sha256_value(entry["cmd"])}


def _refuse_young_code(entry: dict[str, Any]) -> None:
    """Stop if code changed between the start of Python and the first fingerprint."""
    for dep in map(Path, entry.get("deps", [])):
        for path in [dep] if dep.is_file() else dep.rglob("*.py"):
            if path.suffix == ".py" and path.stat().st_mtime > tunelock.run.STARTED:
                raise Stop(f"{path} was edited while the stage was starting; run the same command again.")


def _refuse_changes(before: dict[str, str], after: dict[str, str]) -> None:
    """Stop if an input is no longer what the result was made from."""
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        raise Stop(f"changed while the stage ran: {', '.join(changed)}; the result is discarded, run it again.")
