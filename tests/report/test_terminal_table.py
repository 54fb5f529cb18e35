"""The result table at a terminal: colours by the verdict of the claims, lines that fit the window."""

import io

import pytest
from rich.console import Console

from tunelock.metrics.registry import list_table_metrics
from tunelock.report.terminal_table import print_results

FIGURES = [("test", "base"), ("test", "tuned"), ("golden", "base"), ("golden", "tuned")]
TABLE = [metric.name for metric in list_table_metrics()]
METRICS = {f"{split}_{key}_{model}": 1 + place for key in TABLE for place, (split, model) in enumerate(FIGURES)}
CLAIMS = {
    "claim": "gain",
    "claim_sentence": "Tuning lowered the loss on test from 3.4 to 2.6 nats a token.",
    "test_loss": {"verdict": "better"},
    "golden_loss": {"verdict": "undecided"},
    "test_chrf": {"verdict": "worse"},
}
GREEN, RED = "\033[32m", "\033[31m"


def show(width: int = 100, colours: bool = True, metrics=METRICS, claims=CLAIMS) -> str:
    """What a terminal of this width gets."""
    written = io.StringIO()
    console = Console(file=written, width=width, force_terminal=colours, color_system="standard" if colours else None)
    print_results(console, metrics, claims)
    return written.getvalue()


def find_row(text: str, name: str) -> str:
    """The line of a metric."""
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    return line


def test_the_colour_is_that_of_the_verdict_and_not_of_the_difference():
    text = show()
    assert f"{GREEN}better" in find_row(text, "loss") and RED not in find_row(text, "loss")  # a loss that fell
    assert f"{RED}worse" in find_row(text, "chrf") and GREEN not in find_row(text, "chrf")
    assert GREEN not in find_row(text, "token f1") and RED not in find_row(text, "token f1")


def test_perplexity_is_judged_as_the_loss_that_it_is_made_of():
    assert f"{GREEN}better" in find_row(show(), "perplexity")


def test_the_verdict_is_also_a_word_for_those_who_see_no_colours():
    row = find_row(show(colours=False), "loss").split()
    assert row == ["loss", "1.000", "2.000", "better", "3.000", "4.000", "undecided"]
    assert "\033[3" not in show(colours=False)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_window(width):
    text = show(width, colours=False)
    assert max(len(line) for line in text.splitlines()) <= width
    for number in ("1.00", "2.00", "3.00", "4.00"):
        assert number in text


def test_the_claim_stands_below_the_table_and_then_where_to_look_next():
    text = show(colours=False)
    parts = ["stop rate", f"Gain: {CLAIMS['claim_sentence']}", "`tunelock chat`", "`tunelock report`"]
    assert sorted(parts, key=text.index) == parts
    assert "No gain: " in show(colours=False, claims=CLAIMS | {"claim": "no gain"})


def test_what_was_not_measured_is_a_dash_and_a_row_of_dashes_is_left_out():
    metrics = {key: value for key, value in METRICS.items() if "_chrf_" not in key and key != "golden_accuracy_tuned"}
    text = show(colours=False, metrics=metrics)
    assert "chrf" not in text
    assert find_row(text, "accuracy").split()[-2:] == ["3.000", "-"]
