"""Progress bars of one style, on stderr: how much of the total is done, the rate, the time left."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from tunelock.run.terminal import format_duration

DELAY = 1  # seconds; what is over sooner needs no bar
LOG_INTERVAL = 10  # seconds between the lines in a log file


class Bar(tqdm):
    """tqdm's bar at a terminal; elsewhere, as in a log file, a line every ten seconds. What is over sooner shows none.

    It takes what tqdm takes. `unit` is a word in the singular, or `B` for bytes.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.live = sys.stderr.isatty()
        self.shown_at: float | None = None
        self.shown: tuple[int, str] | None = None
        if self.live:
            pace: dict[str, Any] = {"delay": DELAY, "dynamic_ncols": True}
        else:
            pace = {"delay": LOG_INTERVAL, "mininterval": LOG_INTERVAL, "position": 0}
        # `tunelock.run.quiet` disables the bars of libraries by the default of `disable`.
        ours = {"file": sys.stderr, "disable": options.get("disable", False), "unit_scale": options.get("unit") == "B"}
        super().__init__(*args, **options | pace | ours)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show where the work stands, if it is time to."""
        now = self._time()
        due = self.start_t + self.delay if self.live or self.shown_at is None else self.shown_at + LOG_INTERVAL
        if now < due:
            return True
        self.shown_at = now
        if self.live:
            return bool(super().display(msg, pos))
        self._write_line()
        return True

    def close(self) -> None:
        """Show how the work ended, if it was ever shown."""
        if self.disable or self.shown_at is None:
            self.sp = None  # without it tqdm shows nothing
            super().close()
        elif self.live:
            self.last_print_t = self._time()  # tqdm ends the line only if it believes that it showed one
            super().close()
        else:
            self.sp = None
            super().close()
            if self.shown != (self.n, self.postfix):
                self._write_line()

    def _write_line(self) -> None:
        self.shown = self.n, self.postfix
        print(_describe_progress(self.format_dict), file=sys.stderr, flush=True)


@contextmanager
def show_bytes(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for what is sent or fetched: to be called with the bytes of a piece, and with how many there are in all."""
    with Bar(desc=name, unit="B") as bar:

        def see(piece: int, total: int) -> None:
            bar.total = total
            bar.update(piece)

        yield see


def _describe_progress(facts: Mapping[str, Any]) -> str:
    """The state of a bar in words, from tqdm's `format_dict`: `train: 4 of 5 steps (80 %), 11 s a step, 11 s left`."""
    done, total, seconds = facts["n"], facts["total"], facts["elapsed"]
    unit = "item" if facts["unit"] == "it" else facts["unit"]  # what tqdm says where nobody names one
    rate = facts["rate"] or (done - facts["initial"]) / seconds if seconds else 0
    name = f"{facts['prefix'].removesuffix(': ')}: " if facts["prefix"] else ""
    if total:
        text = f"{name}{count_units(done, unit, of=total)} ({done / total:.0%})"
    else:
        text = f"{name}{count_units(done, unit)}"
    if rate:
        text += f", {describe_rate(rate, unit)}"
    if rate and total and done < total:
        text += f", {format_duration((total - done) / rate, rounded=True)} left"
    return f"{text}, {facts['postfix']}" if facts["postfix"] else text


def count_units(number: float, unit: str, of: float | None = None) -> str:
    """`1 row`, `3 of 20 rows`, `1.0 of 5.6 MB`."""
    if unit == "B":
        return f"{number / 1e6:.1f} of {of / 1e6:.1f} MB" if of else f"{number / 1e6:.1f} MB"
    if of:
        return f"{number:,} of {of:,} {unit}s"
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"


def describe_rate(rate: float, unit: str) -> str:
    """`2.3 rows a second`, or `12 s a row` where one takes longer than a second."""
    if unit == "B":
        return f"{rate / 1e6:.1f} MB a second"
    if rate < 1:
        return f"{1 / rate:.1f} s a {unit}"
    return f"{rate:,.{0 if rate >= 10 else 1}f} {unit}s a second"
