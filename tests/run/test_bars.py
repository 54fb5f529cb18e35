"""Progress bars: a bar at a terminal, a line now and then in a log file, nothing for what is over at once."""

import io
import subprocess
import sys

import pytest

from tests.terminal import Clock, Terminal, stop_clock
from tunelock.run.bars import Bar, count_units, describe_rate


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return stop_clock(monkeypatch)


def work(clock: Clock, stream: io.StringIO, monkeypatch, seconds: float, rows: int = 100, **options) -> str:
    """What a bar writes to `stream` about rows that take `seconds` in all."""
    monkeypatch.setattr(sys, "stderr", stream)
    with Bar(**{"total": rows, "desc": "score", "unit": "row"} | options) as bar:
        for _ in range(rows):
            clock.now += seconds / rows
            bar.update(1)
    return stream.getvalue()


def test_a_log_file_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, monkeypatch):
    written = work(clock, io.StringIO(), monkeypatch, seconds=25)
    assert written.splitlines() == [
        "score: 40 of 100 rows (40%), 4.0 rows a second, 15 s left",
        "score: 80 of 100 rows (80%), 4.0 rows a second, 5 s left",
        "score: 100 of 100 rows (100%), 4.0 rows a second",
    ]
    assert "\r" not in written and "\033" not in written


def test_refreshing_a_bar_does_not_fill_a_log_file(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Bar(total=30, unit="step", desc="train") as bar:
        for step in range(30):
            clock.now += 1
            bar.set_postfix({"loss": step})
            bar.update(1)
    assert len(sys.stderr.getvalue().splitlines()) <= 4
    assert sys.stderr.getvalue().splitlines()[-1] == "train: 30 of 30 steps (100%), 1.0 steps a second, loss=29"


def test_what_is_over_soon_leaves_no_line(clock, monkeypatch):
    assert work(clock, io.StringIO(), monkeypatch, seconds=9) == ""
    assert work(clock, Terminal(), monkeypatch, seconds=0.9) == ""


def test_a_terminal_gets_a_bar_with_total_rate_and_time_left(clock, monkeypatch):
    states = work(clock, Terminal(), monkeypatch, seconds=25).split("\r")
    assert any("score:" in state and "/100 [" in state and "<" in state and "row/s]" in state for state in states)
    assert states[-1].startswith("score: 100%") and states[-1].endswith("\n")


def test_a_bar_refreshed_before_its_time_leaves_the_terminal_clean(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar(total=3) as bar:
        bar.refresh()
    assert sys.stderr.getvalue() == ""


def test_bytes_are_counted_in_megabytes(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Bar(total=98_400_000, unit="B", desc="unpack model.gguf") as bar:
        clock.now += 12
        bar.update(49_200_000)
    assert (
        sys.stderr.getvalue().splitlines()[0] == "unpack model.gguf: 49.2 of 98.4 MB (50%), 4.1 MB a second, 12 s left"
    )


def test_a_bar_without_a_total_counts(clock, monkeypatch):
    lines = work(clock, io.StringIO(), monkeypatch, seconds=20, rows=2, total=None).splitlines()
    assert lines == ["score: 1 row, 10.0 s a row", "score: 2 rows, 10.0 s a row"]


def test_rates_read_well():
    assert describe_rate(0.0869, "step") == "11.5 s a step"
    assert describe_rate(1234.5, "token") == "1,234 tokens a second"
    assert count_units(1234567, "token", of=7654321) == "1,234,567 of 7,654,321 tokens"


def test_a_bar_that_fails_to_start_ends_quietly():
    done = subprocess.run(
        [sys.executable, "-c", "from tunelock.run.bars import Bar\nBar(total=1, colour='x', nonsense=1)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Exception ignored" not in done.stderr
