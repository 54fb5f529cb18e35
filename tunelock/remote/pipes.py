"""The process that reaches a host: its pipes, what it prints, and its end."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO, NamedTuple

from tunelock.remote.ssh_errors import Ending
from tunelock.remote.there.streams import MARK

_PATIENCE = 5  # seconds that a process has to end when all is said
_GREETINGS = 20  # lines that the shell there prints, of which these last ones are kept


class NoAnswer(Exception):
    """The host's Python did not come to answer, or broke off."""


class SaysNothing(Exception):
    """The host was silent for too long."""


class Pipes(NamedTuple):
    """The process, and the file in which its standard error is kept."""

    process: subprocess.Popen
    errors: IO[bytes]
    printed: list[bytes]  # by the shell there, before our code answered

    @property
    def given(self) -> BinaryIO:
        """What the host reads."""
        return self.process.stdin  # type: ignore[return-value]

    @property
    def answers(self) -> BinaryIO:
        """What the host says."""
        return self.process.stdout  # type: ignore[return-value]

    def skip_greetings(self) -> None:
        """Pass over what the shell there prints first, with or without an end of line. Raises `NoAnswer` at the end."""
        for line in self.answers:
            if line.endswith(MARK):
                return
            self.printed.append(line)
            del self.printed[:-_GREETINGS]
        raise NoAnswer

    @contextmanager
    def limit_silence(self, seconds: float | None) -> Iterator[None]:
        """Kill the process if the block takes longer. Raises `SaysNothing` then, where it would raise `NoAnswer`."""
        over = threading.Event()

        def give_up() -> None:
            over.set()
            self.process.kill()

        timer = threading.Timer(seconds or 0, give_up)
        timer.daemon = True
        if seconds:
            timer.start()
        try:
            yield
        except (BrokenPipeError, NoAnswer):
            if over.is_set():
                raise SaysNothing from None
            raise
        finally:
            timer.cancel()

    @contextmanager
    def show_life(self, seconds: float) -> Iterator[None]:
        """Send a byte now and then during the block, so that the host knows that somebody listens."""
        over = threading.Event()

        def beat() -> None:
            with suppress(OSError, ValueError):  # the pipe is closed
                while not over.wait(seconds):
                    self.given.write(b"\n")
                    self.given.flush()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def end(self) -> None:
        """Close the pipes, by which the other side ends too, and wait for that a while."""
        for pipe in (self.given, self.answers):
            with suppress(BrokenPipeError):
                pipe.close()
        try:
            self.process.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def describe_end(self, started: bool) -> Ending:
        """End it, and say how it ended; `started` says whether our code answered."""
        self.end()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace")
        return Ending(self.process.returncode, said, b"".join(self.printed).decode(errors="replace"), started)
