"""The result table says the figures of the metrics in the right place."""

import pytest

from tunelock.metrics.registry import METRICS as METRICS_BY_NAME
from tunelock.metrics.registry import list_table_metrics
from tunelock.report.readme_results import MARKS, format_readme_results, pick_sample, replace_results
from tunelock.report.result_table import format_results
from tunelock.run.errors import Stop

NAMES = [metric.name for metric in list_table_metrics()]
METRICS = {
    f"{split}_{key}_{model}": number + place / 10
    for number, key in enumerate(NAMES, 1)
    for place, (split, model) in enumerate(
        [("test", "base"), ("test", "tuned"), ("golden", "base"), ("golden", "tuned")]
    )
}
HEADLINES = [metric.name for metric in METRICS_BY_NAME.values() if metric.headline]
CLAIMS = {"claim": "gain", "claim_sentence": "Tuning lowered the loss " + "on test by much " * 12 + "(-0.5)."}


def test_the_table_puts_each_figure_in_its_row_and_column():
    lines = format_results(METRICS, CLAIMS).splitlines()
    assert lines[0] == "| | test base | test tuned | golden base | golden tuned |"
    assert lines[2] == "| perplexity | 1.00 | 1.10 | 1.20 | 1.30 |"
    assert lines[3] == "| loss | 2.000 | 2.100 | 2.200 | 2.300 |"
    end = 2 + len(NAMES)
    assert [line.split(" | ")[0] for line in lines[2:end]] == [f"| {key}" for key in NAMES] and lines[end] == ""
    assert len({line.count("|") for line in lines[:end]}) == 1


def test_the_claim_stands_below_in_lines_that_fit_the_readme():
    below = format_results(METRICS, CLAIMS).split("\n\n")[1]
    assert " ".join(below.split()) == CLAIMS["claim_sentence"]
    assert below.endswith("\n") and max(map(len, below.splitlines())) <= 120


def test_a_figure_that_was_not_measured_is_a_dash():
    metrics = {key: value for key, value in METRICS.items() if key != "golden_accuracy_tuned"}
    place = NAMES.index("accuracy") + 1
    assert f"| accuracy | {place}.000 | {place}.100 | {place}.200 | - |" in format_results(metrics, CLAIMS)


def test_what_an_accuracy_would_be_without_a_model_stands_right_below_it():
    place, choice = NAMES.index("accuracy"), NAMES.index("choice_accuracy")
    assert NAMES[place + 1 : place + 3] == ["majority_accuracy", "chance_accuracy"]
    assert NAMES[choice + 1 : choice + 3] == ["choice_majority", "choice_chance"]


def test_a_row_of_which_nothing_was_measured_is_left_out():
    metrics = {key: value for key, value in METRICS.items() if "_accuracy_" not in key}
    assert [line for line in format_results(metrics, CLAIMS).splitlines() if "accuracy" in line] == []


def test_only_what_is_between_the_marks_is_replaced():
    readme = f"# Title\n\n{MARKS[0]}| old |\n\nold text\n{MARKS[1]}\nafter\n"
    assert replace_results(readme, "new\n") == f"# Title\n\n{MARKS[0]}new\n{MARKS[1]}\nafter\n"


def test_replacing_the_table_again_changes_nothing():
    once = replace_results(f"# Title\n{MARKS[0]}{MARKS[1]}end\n", format_results(METRICS, CLAIMS))
    assert format_results(METRICS, CLAIMS) in once
    assert replace_results(once, format_results(METRICS, CLAIMS)) == once


@pytest.mark.parametrize("readme", ["", MARKS[0], MARKS[1], MARKS[1] + MARKS[0]])
def test_a_readme_without_both_marks_in_order_stops(readme):
    with pytest.raises(Stop, match="lacks the lines"):
        replace_results(readme, "new\n")


SAMPLES = """# Golden questions, base against tuned

## row-1 (classify)

**question**

    Which one?
    - this

**reference**

    this

**base**

    No.

**tuned**

    this

## row-2 (explain)

**question**

    What is <b>it</b>?

**reference**

    It is a thing | with a bar,

    and a second paragraph.

**base**

    A thing

**tuned**

    It is a thing.
"""
LENGTHS = {"test_mean_length_base": 100.0, "test_mean_length_tuned": 20.0}


def test_the_readme_shows_four_metrics_and_says_what_each_is():
    lines = format_readme_results(METRICS, CLAIMS, SAMPLES).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:6]] == [f"| {name}" for name in HEADLINES]
    assert lines[2] == f"| perplexity | 1.00 | 1.10 | 1.20 | 1.30 | {METRICS_BY_NAME['perplexity'].meaning} |"


@pytest.mark.parametrize(("tuned", "fell"), [(10.0, True), (30.0, False)])
def test_a_score_that_fell_with_the_length_of_the_answers_says_so(tuned, fell):
    metrics = METRICS | LENGTHS | {"test_chrf_base": 20.0, "test_chrf_tuned": tuned}
    text = format_readme_results(metrics, CLAIMS, SAMPLES)
    assert ("It fell: answers now have 20 tokens, before 100." in text) == fell


def test_a_score_that_fell_while_answers_kept_their_length_gives_no_such_reason():
    metrics = METRICS | {"test_mean_length_base": 20.0, "test_mean_length_tuned": 20.0, "test_chrf_tuned": 0.1}
    assert "It fell" not in format_readme_results(metrics, CLAIMS, SAMPLES)


def test_the_answers_shown_are_of_the_first_question_with_a_sentence_to_compare():
    sample = pick_sample(SAMPLES)
    assert sample.question == "What is <b>it</b>?" and sample.reference.endswith("second paragraph.")
    text = format_readme_results(METRICS, CLAIMS, SAMPLES)
    assert "> What is \\<b\\>it\\</b\\>?\n\n| base | tuned |\n|---|---|\n| A thing | It is a thing. |\n" in text


def test_without_answers_the_readme_shows_none():
    assert "| base | tuned |" not in format_readme_results(METRICS, CLAIMS, "# Golden questions\n")
