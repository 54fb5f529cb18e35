"""A terminal and a clock for tests of what is shown while time passes."""

import io
import sys

from tqdm import tqdm


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """The time that progress bars see, which passes only when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stop_clock(monkeypatch) -> Clock:
    """Give the bars a clock that stands still."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)  # no thread that looks at the real clock
    return clock


def open_terminal(monkeypatch) -> Terminal:
    """A standard error with colours. No fixture: pytest puts its own in its place before the test begins."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return sys.stderr
