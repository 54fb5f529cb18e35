"""A stop on request: SIGUSR1 or SIGTERM, which Slurm and rented machines send before they take a machine away.

The stage ends with exit code 75, in sysexits.h a temporary failure: run it again. A stage that has something to save
holds the request until it has done so (`hold_stops`). The process to send it to stands in `.ckpt/NAME.lock`.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class StoppedOnRequest(SystemExit):
    """The end of a stage that was asked to stop: exit code 75, and a sentence that `plain_errors` prints."""

    def __init__(self, sentence: str = "stopped on request; run the same command again."):
        super().__init__(os.EX_TEMPFAIL)
        self.sentence = sentence


class StopRequest:
    """Whether this process was asked to stop, and whether somebody holds the request to act on it later."""

    def __init__(self) -> None:
        self.asked = self.held = False
        self.owner = os.getpid()


_request = StopRequest()


@contextmanager
def heed_stops() -> Iterator[None]:
    """While the block runs, a signal ends it with `StoppedOnRequest`, wherever it is; a second SIGTERM ends it at once.

    Once the block has ended well its result is there, so requests are ignored until the process is gone. In another
    thread than the main one, which alone receives signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _request.asked, _request.held, _request.owner = False, False, os.getpid()
    before = {number: signal.signal(number, _note_request) for number in _SIGNALS}
    try:
        yield
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler)
        _request.asked = False
        raise
    ignore_stops()


def _note_request(number: int, _frame: FrameType | None) -> None:
    """The handler of both signals."""
    if os.getpid() != _request.owner:  # a forked child is not the stage
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
    _request.asked = True
    if not _request.held:
        raise StoppedOnRequest


@contextmanager
def hold_stops() -> Iterator[StopRequest]:
    """Keep a request from ending the block, which looks at `asked` and ends by itself when it has saved its work.

    Raises:
        StoppedOnRequest: the block has ended without an error, and a stop was asked for meanwhile.
    """
    _request.held = True
    try:
        yield _request
    finally:
        _request.held = False
    if _request.asked:
        raise StoppedOnRequest


def ignore_stops() -> None:
    """From here on to the end of the process finishing is safer than stopping: the result is being handed on."""
    if signal.getsignal(signal.SIGUSR1) is _note_request:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
