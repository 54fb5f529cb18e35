"""The pilot says no for each of its reasons."""

import math

import pytest

from stages.pilot import average_loss, list_objections
from tunelock.answering.scoring import Score
from tunelock.rendering.label_check import find_mislabelled
from tunelock.rendering.rendering import IGNORE, Rendering, render_records

WHOLE = Rendering(256)
GOOD = {"too_long": 0, "refused": 0, "rows": 100, "limit": 0.02, "mislabelled": [], "before": 3.0, "after": 2.0}


def test_a_good_pilot_is_a_go():
    assert list_objections(**GOOD) == []
    assert list_objections(**{**GOOD, "too_long": 2}) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"too_long": 3}, "3 of 100 train rows exceed max_length"),
        ({"refused": 3}, "the chat template cannot say 3 of 100 train rows"),
        ({"mislabelled": ["row-1"]}, "labels of row-1"),
        ({"after": math.nan}, "the loss became nan"),
        ({"after": math.inf}, "the loss became inf"),
        ({"after": 3.0}, "the loss did not fall"),
    ],
)
def test_each_fault_is_a_no_go_with_its_reason(change, reason):
    assert [reason in found for found in list_objections(**{**GOOD, **change})] == [True]


def test_labels_are_checked_against_the_answers_themselves(tokenizer, records):
    rows = render_records(tokenizer, records, WHOLE).rows
    assert find_mislabelled(tokenizer, records, rows, WHOLE) == []
    prompt_too = {**rows[0], "labels": rows[0]["input_ids"]}
    no_end = {**rows[1], "labels": [IGNORE if label == 2 else label for label in rows[1]["labels"]]}
    assert find_mislabelled(tokenizer, records, [prompt_too, no_end, rows[2]], WHOLE) == [rows[0]["id"], rows[1]["id"]]


def test_mean_loss_is_over_tokens_not_rows():
    assert average_loss([Score(10.0, 1, []), Score(0.0, 9, [])]) == 1.0
