"""A command of DVC in a process group of its own: it can be asked to stop, and the log says what it failed of."""

import os
import re
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from tunelock.remote.there.job_files import JobFolder
from tunelock.remote.there.locking import is_held
from tunelock.remote.there.refusal import Refused

_MOST_LINES = 6  # of a stage's sentence
_PROGRESS = re.compile(r"\w+: [\d,.]+ (?:of [\d,.]+ )?\w+ ")
_FAILED = re.compile(r"failed to reproduce '([^']+)'")


class Command:
    """A command that runs in the clone of a job, its output in the job's log."""

    def __init__(self, command: list[str], folder: JobFolder, environment: dict[str, str]) -> None:
        self.folder = folder
        self._start = folder.log.stat().st_size if folder.log.exists() else 0  # where its output begins
        self._process = subprocess.Popen(
            command, cwd=folder.clone, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def group(self) -> int:
        """The process group of all that it starts."""
        return self._process.pid

    def wait(self) -> None:
        """Wait until it has ended; `Refused` with the cause if it failed."""
        code = self._process.wait()
        with suppress(ProcessLookupError):  # a stage lives on where DVC itself was killed
            os.killpg(self.group, signal.SIGKILL)
        if code:
            raise Refused(_find_failure(self.folder.log, self._start, code))

    def stop(self, at_once: bool, patience: float) -> None:
        """Ask the stage that runs to write a checkpoint and stop, or end all; kill it after `patience` seconds."""
        if self._process.poll() is not None:
            return
        if at_once:
            self._signal_all(signal.SIGTERM)
        else:
            for pid in _find_running_stages(self.folder.clone / ".ckpt"):
                os.kill(pid, signal.SIGUSR1)
        timer = threading.Timer(patience, self._signal_all, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def _signal_all(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self.group, number)


def _find_running_stages(locks: Path) -> list[int]:
    """The processes that hold the lock of a stage in this clone."""
    found = []
    for path in locks.glob("*.lock"):
        text = path.read_text().strip()
        if text.isdigit() and is_held(path):
            found.append(int(text))
    return found


def _find_failure(log: Path, start: int, code: int) -> str:
    """What went wrong, out of the log from a byte on: the sentence of the stage that failed, or else DVC's error."""
    with open(log, "rb") as file:
        file.seek(start)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    failed = next((match[1] for line in reversed(lines) if (match := _FAILED.search(line))), "")
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    if sentence := _find_sentence(lines, failed.split("@")[0]):
        return sentence
    if code < 0 and not failed:
        return f"DVC was killed there by {signal.Signals(-code).name}; was the memory full?"
    where = f"the stage '{failed}' " if failed else "it "
    last = errors[0] if errors else lines[-1] if lines else "it said nothing"
    return f"{where}ended with exit code {code}: {last}"


def _find_sentence(lines: list[str], stage: str) -> str:
    """The last sentence of a stage, of several lines where it lists problems, or the error that it broke with.

    Empty if it said none: what it is for, which follows its command, and its progress are no reason.
    """
    starts = [number for number, line in enumerate(lines) if stage and _says_why(line, stage, lines[number - 1])]
    end = next((number for number, line in enumerate(lines) if line.startswith("ERROR:")), len(lines))
    broke = [number for number, line in enumerate(lines[:end]) if line.startswith("Traceback (most recent")]
    if broke and broke[-1] > max(starts, default=-1):
        return f"the stage '{stage}' broke: {lines[end - 1]}"
    return " ".join(lines[starts[-1] : end][:_MOST_LINES]) if starts else ""


def _says_why(line: str, stage: str, before: str) -> bool:
    return line.startswith(f"{stage}: ") and not _PROGRESS.match(line) and not before.startswith("> ")
