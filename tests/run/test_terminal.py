"""Sentences at the terminal: durations that read well, colours only where they show."""

import pytest

from tests.terminal import open_terminal
from tunelock.run.terminal import announce_end, announce_start, format_duration, paint_text

DURATIONS = [
    (0.34, "0.3 s", "1 s"),
    (9.94, "9.9 s", "10 s"),
    (9.97, "10 s", "10 s"),
    (59.4, "59 s", "59 s"),
    (59.6, "1 min", "1 min"),
    (229.2, "3 min 49 s", "4 min"),
    (119.7, "2 min", "2 min"),
    (3569, "59 min 29 s", "59 min"),
    (3590, "1 h", "1 h"),
    (7500, "2 h 5 min", "2 h 5 min"),
]


@pytest.mark.parametrize("seconds, exact, rounded", DURATIONS)
def test_durations_read_well(seconds, exact, rounded):
    assert format_duration(seconds) == exact
    assert format_duration(seconds, rounded=True) == rounded


def test_a_terminal_gets_colours(monkeypatch):
    terminal = open_terminal(monkeypatch)
    announce_start("train", "Fine-tune", "about 1 min, as last time")
    announce_end("train", "step 5 of 5", 61)
    start, end = terminal.getvalue().splitlines()
    assert start == "\033[1mtrain\033[0m: Fine-tune\033[2m (about 1 min, as last time)\033[0m"
    assert end == "\033[32mtrain done\033[0m in 1 min 1 s: step 5 of 5"


@pytest.mark.parametrize("name, value", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(monkeypatch, name, value):
    open_terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    assert paint_text("train", "bold") == "train"


def test_a_file_gets_plain_text():
    assert paint_text("train", "bold") == "train"
