"""Intervals cover what they promise, however the rows hang together; the tests give values known by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from tunelock.claims.significance import adjust_by_holm, compute_mcnemar
from tunelock.claims.uncertainty import MIN_GROUPS, Interval, compare_ratios, compare_scores
from tunelock.metrics.metric import average_sums

LEVEL = 0.95


def of_differences(values: np.ndarray, groups: list, level: float = LEVEL, samples: int = 400, seed: int = 0):
    """The interval of the mean difference, where the base is 0 everywhere."""
    numerators = np.stack([np.zeros(len(values)), values], axis=1)
    return compare_ratios(numerators, np.ones_like(numerators), [str(g) for g in groups], level, samples, seed)


def clustered(seed: int, groups: int = 20, rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Differences around 0 that a group's rows share in good part, and the group of each."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(groups, 1)) + draw.normal(size=(groups, rows))
    return values.ravel(), np.repeat(np.arange(groups), rows)


def covers(found: Interval) -> bool:
    return found.low <= 0 <= found.high


@pytest.mark.parametrize("groups", [6, 20])
def test_intervals_cover_the_truth_as_often_as_they_say_and_drawing_rows_would_not(groups):
    by_group = by_row = 0
    for seed in range(300):
        values, members = clustered(seed, groups)
        by_group += covers(of_differences(values, members, seed=seed))
        by_row += covers(of_differences(values, range(len(values)), seed=seed))
    assert 0.91 <= by_group / 300 <= 0.99
    assert by_row / 300 < 0.85


def test_p_is_below_one_less_the_level_exactly_when_the_interval_leaves_0_out():
    seen = set()
    for seed in range(200):
        values, members = clustered(seed, groups=8)
        for level in (0.8, 0.95, 0.999):
            found = of_differences(values + 0.5 * (seed % 3), members, level, samples=200)
            assert (found.p < 1 - level) == (not covers(found))
            seen.add((level, covers(found)))
    assert {(0.8, True), (0.8, False), (0.95, True), (0.95, False)} <= seen


def test_interval_and_p_are_near_those_of_students_t_where_that_holds():
    values = np.random.default_rng(3).normal(0.4, 1, 40)
    found, exact = of_differences(values, range(40), samples=20_000), ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(exact.confidence_interval()), abs=0.03)
    assert found.p == pytest.approx(exact.pvalue, rel=0.2)


def test_p_goes_on_below_what_the_number_of_resamples_can_show():
    values = np.random.default_rng(0).normal(3, 1, 25)
    assert 0 < of_differences(values, range(25), samples=200).p < 1e-6


def test_the_smallest_effect_is_found_with_80_percent_power():
    noise = [clustered(seed, groups=25, rows=4) for seed in range(300)]
    effect = np.mean([of_differences(values, members).smallest_effect for values, members in noise])
    found = [of_differences(values + effect, members) for values, members in noise]
    assert 0.72 <= np.mean([one.low > 0 for one in found]) <= 0.88


def test_ratios_are_of_sums_and_not_means_of_rows():
    found = compare_ratios(np.array([[2.0, 1.0], [4.0, 2.0]]), np.array([[1, 1], [11, 11]]), ["a", "b"], LEVEL, 200)
    assert (found.base, found.tuned, found.difference) == pytest.approx((6 / 12, 3 / 12, -3 / 12))


def test_both_models_are_measured_on_the_same_draws():
    hard = np.random.default_rng(0).normal(10, 5, 50)  # rows differ far more than the models
    numerators = np.stack([hard, hard - 0.1 + 0.01 * np.arange(50) / 50], axis=1)
    found = compare_ratios(numerators, np.ones((50, 2)), [str(n) for n in range(50)], LEVEL, 400)
    assert -0.11 < found.low < found.high < -0.08


def test_the_seed_alone_decides_and_the_order_of_the_rows_does_not_matter():
    values, members = clustered(1)
    found = of_differences(values, members)
    assert found == of_differences(values, members)
    assert found[3:] != of_differences(values, members, seed=1)[3:]
    backwards = of_differences(values[::-1], members[::-1])
    assert found[3:] == pytest.approx(backwards[3:])


def test_equal_models_differ_by_0_for_sure_even_where_sums_are_rounded():
    losses = np.random.default_rng(0).normal(3, 1, 90)
    both = np.stack([losses, np.nextafter(losses, 9)], axis=1)  # as after another order of summing
    found = compare_ratios(both, np.full((90, 2), 7), [str(n % 30) for n in range(90)], LEVEL, 400)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_too_few_groups_give_the_difference_without_an_interval():
    found = of_differences(np.ones(8), [n % (MIN_GROUPS - 1) for n in range(8)])
    assert found == Interval(0, 1, 1, None, None, None, None, MIN_GROUPS - 1)
    assert of_differences(np.arange(10.0), [n % MIN_GROUPS for n in range(10)]).low is not None


def test_where_all_groups_agree_exactly_their_number_tells():
    sure, unsure = of_differences(np.ones(12), range(12)), of_differences(np.ones(5), range(5))
    assert (sure.low, sure.high, sure.p) == (1, 1, 2 * 0.5**12)
    assert (unsure.low, unsure.high, unsure.p) == (0, 1, 2 * 0.5**5)


def test_a_row_that_was_not_measured_counts_for_nothing():
    values, members = clustered(2)
    numerators = np.stack([np.zeros(len(values)), values], axis=1)
    more = np.vstack([numerators, np.zeros((9, 2))]), np.vstack([np.ones_like(numerators), np.zeros((9, 2))])
    names = [str(g) for g in members]
    assert compare_ratios(*more, [*names, *("new",) * 9], LEVEL, 400) == compare_ratios(
        numerators, np.ones_like(numerators), names, LEVEL, 400
    )


def test_a_score_of_summed_statistics_is_resampled_as_a_whole():
    def geometric(sums):
        return np.sqrt(sums[..., 0] * sums[..., 1])

    statistics = np.random.default_rng(0).uniform(1, 2, (30, 2, 2))
    found = compare_scores(statistics, geometric, [str(n) for n in range(30)], LEVEL, 400)
    assert found.base == pytest.approx(np.sqrt(np.prod(statistics[:, 0].sum(axis=0))))
    assert found.low < found.difference < found.high
    as_ratio = compare_scores(statistics, average_sums, ["a"] * 30, LEVEL, 400)
    assert as_ratio.tuned == pytest.approx(np.divide(*statistics[:, 1].sum(axis=0)))


def test_mcnemar_looks_at_the_rows_that_one_model_alone_gets_right():
    base, tuned = [1] * 3 + [0] * 9 + [1] * 50 + [0] * 50, [0] * 3 + [1] * 9 + [1] * 50 + [0] * 50
    assert compute_mcnemar(base, tuned) == pytest.approx(binomtest(9, 12).pvalue)
    assert compute_mcnemar([0] * 5, [1] * 5) == pytest.approx(2 * 0.5**5)
    assert compute_mcnemar([1, 0], [1, 0]) == 1


def test_mcnemar_refuses_rows_that_are_not_the_same():
    with pytest.raises(ValueError, match="zip"):
        compute_mcnemar([1], [1, 0])


def test_holm_steps_down_as_by_hand():
    # 0.01 x 4 = 0.04; 0.02 x 3 = 0.06; 0.03 x 2 = 0.06; 0.04 x 1 is raised to 0.06
    found = adjust_by_holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02, "none": None})
    assert found == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06, "none": None})
    assert adjust_by_holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert adjust_by_holm({}) == {}
