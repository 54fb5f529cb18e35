"""Retention, contrast and accuracy of general rows are those computed by hand."""

import math

import numpy as np
import pytest

from tunelock.claims.retention import measure_retention


def make_rows(number: int, base: float, tuned: float, tokens: int = 2, **more) -> tuple[dict, dict]:
    """A general row of base and tuned with these losses."""
    same = {"id": str(number), "group": str(number), "tokens": tokens, **more}
    return {**same, "loss": base}, {**same, "loss": tuned, "kl": 0.5}


def measure(pairs: list[tuple[dict, dict]], samples: int = 200) -> dict[str, float]:
    return measure_retention([base for base, _ in pairs], [tuned for _, tuned in pairs], 0.95, samples)


def test_retention_is_the_share_of_the_probability_a_token():
    found = measure([make_rows(n, 2 * -math.log(0.5), 2 * -math.log(0.4)) for n in range(9)])
    assert found["retention"] == pytest.approx(0.8)
    assert found["general_perplexity_base"] == pytest.approx(2)
    assert found["general_kl"] == pytest.approx(0.25)
    assert found["general_rows"] == 9
    assert "general_accuracy_base" not in found and "general_contrast_base" not in found


def test_the_interval_is_around_retention_and_in_its_order():
    draw = np.random.default_rng(0)
    found = measure([make_rows(n, 3.0, 3.0 + draw.normal(0.4, 0.3)) for n in range(40)], 500)
    assert 0.6 < found["retention_low"] < found["retention"] < found["retention_high"] < 1


def test_too_few_questions_have_no_interval():
    assert measure([make_rows(0, 3.0, 3.5), make_rows(1, 3.0, 3.5)]).keys().isdisjoint({"retention_low"})


def test_contrast_is_what_the_own_question_is_worth_to_the_same_tokens():
    pairs = [make_rows(0, 8.0, 4.0, 4), make_rows(1, 2.0, 2.0, 2), make_rows(2, 1.0, 1.0, 3)]
    for number, other, base, tuned, tokens in ((0, 1, 6.0, 3.0, 2), (1, 0, 12.0, 12.0, 4)):
        for row, loss in zip(pairs[number], (base, tuned)):
            row |= {"other_id": str(other), "other_loss": loss, "other_tokens": tokens}
    found = measure(pairs)
    assert found["general_contrast_base"] == pytest.approx(((6 - 2) / 2 + (12 - 8) / 4) / 2)
    assert found["general_contrast_tuned"] == pytest.approx(((3 - 2) / 2 + (12 - 4) / 4) / 2)
    assert found["general_contrast_change"] == pytest.approx(1.25 - 1.5)


def test_accuracy_is_by_likelihood_of_those_with_options():
    pairs = [make_rows(n, 1.0, 1.0) for n in range(3)]
    for pair, losses in zip(pairs, (([2.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, 2.0]))):
        for row, options in zip(pair, losses):
            row |= {"choices": ["a", "b"], "choice_losses": options, "right": 1}
    found = measure(pairs)
    assert (found["general_accuracy_base"], found["general_accuracy_tuned"]) == (0.5, 0.0)
