"""How sure a difference between two models is: a paired bootstrap over groups.

Rows of one group (here: one weakness) resemble each other, so whole groups are drawn, with replacement, and the same
ones for both models (Efron and Tibshirani 1993, ch. 8; for tests of systems on the same rows Koehn 2004,
https://aclanthology.org/W04-3250). Intervals are expanded percentile intervals, which few groups do not make too
narrow (Hesterberg 2015, https://doi.org/10.1080/00031305.2015.1089789).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

from tunelock.metrics.metric import average_sums

MIN_GROUPS = 5  # fewer have too few ways of being drawn for an interval to mean anything
POWER = 0.8  # the chance with which `smallest_effect` would have been found
ROUNDING = 1e-10  # of the values: below it two sums of the same numbers differ by their order of summing
BLOCK = 4_000_000  # draws held in memory at a time


class Interval(NamedTuple):
    """Two values, their difference (tuned - base), and how sure it is.

    low, high: the interval; p: two-sided, below 1 - level exactly when the interval leaves 0 out; smallest_effect:
    the difference that would be found with 80 % power, None where no resample differs from another and nothing can be
    said. All four are None below MIN_GROUPS groups.
    """

    base: float
    tuned: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    smallest_effect: float | None
    groups: int


def compare_ratios(
    numerators: np.ndarray, denominators: np.ndarray, groups: Sequence[str], level: float, samples: int, seed: int = 0
) -> Interval:
    """The difference of two ratios sum(numerators) / sum(denominators), such as nats a token or a share of rows.

    Args:
        numerators, denominators: shape (rows, 2), the columns base and tuned. A row with no denominator is left out.
        groups: the group of each row.
        level: of the interval, such as 0.95.
        samples: how often the groups are drawn.
        seed: the same one gives the same interval.
    """
    statistics = np.stack([numerators, denominators], axis=2).astype(float)
    measured: np.ndarray = np.any(statistics[:, :, 1], axis=1)
    kept = [group for group, has in zip(groups, measured, strict=True) if has]
    return compare_scores(statistics[measured], average_sums, kept, level, samples, seed)


def compare_scores(
    statistics: np.ndarray, score: Callable[[np.ndarray], np.ndarray], groups: Sequence[str],
    level: float, samples: int, seed: int = 0,
) -> Interval:  # fmt: skip
    """The difference of any score that follows from summed statistics of rows, as BLEU follows from counts.

    Args:
        statistics: shape (rows, 2, k), the statistics of each row for base and tuned.
        score: turns sums of shape (..., k) into scores of shape (...).
        groups, level, samples, seed: as in `compare_ratios`.
    """
    sums = _sum_groups(statistics, groups)
    base, tuned = map(float, score(sums.sum(axis=0)))
    found = _NO_BOUNDS
    if len(sums) >= MIN_GROUPS:
        found = _find_bounds(_subtract(score(_resample(sums, samples, seed))), len(sums), level)
    difference = float(_subtract(np.array([[base, tuned]]))[0])
    return Interval(base, tuned, difference, *found, groups=len(sums))


def bound_score(
    statistics: np.ndarray, score: Callable[[np.ndarray], np.ndarray], groups: Sequence[str],
    level: float, samples: int, seed: int = 0,
) -> Interval:  # fmt: skip
    """The interval of one model's own score, from its statistics, shape (rows, k): its difference from 0."""

    def score_beside_zero(sums: np.ndarray) -> np.ndarray:
        return score(sums) * np.array([0, 1])

    both = np.stack([statistics, statistics], axis=1)
    return compare_scores(both, score_beside_zero, groups, level, samples, seed)


def _sum_groups(statistics: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """The statistics summed by group, shape (groups, 2, k)."""
    names, place = np.unique(np.array(groups, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), *statistics.shape[1:]))
    np.add.at(sums, place, statistics)
    return sums


def _resample(sums: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """The sums over as many groups as there are, drawn with replacement, `samples` times; shape (samples, 2, k)."""
    draw, count, flat = np.random.default_rng(seed), len(sums), sums.reshape(len(sums), -1)
    found, size = [], max(1, BLOCK // count)
    for start in range(0, samples, size):
        block = min(size, samples - start)
        chosen = draw.integers(count, size=(block, count)) + count * np.arange(block)[:, None]
        often = np.bincount(chosen.ravel(), minlength=block * count).reshape(block, count)
        found.append(often.astype(float) @ flat)
    return np.concatenate(found).reshape(samples, *sums.shape[1:])


def _subtract(scores: np.ndarray) -> np.ndarray:
    """Tuned less base, shape (n, 2) to (n,); what rounding alone can make is 0."""
    found = scores[:, 1] - scores[:, 0]
    return np.where(np.abs(found) <= ROUNDING * np.abs(scores).max(axis=1), 0.0, found)


class _Bounds(NamedTuple):
    """low, high, p and smallest effect as in `Interval`."""

    low: float | None
    high: float | None
    p: float | None
    smallest_effect: float | None


_NO_BOUNDS = _Bounds(None, None, None, None)


def _find_bounds(drawn: np.ndarray, groups: int, level: float) -> _Bounds:
    """The bounds from resampled differences.

    The percentiles are those of a normal distribution at Student's t times sqrt(n / (n - 1)); beyond the outermost
    resamples the distribution goes on as a normal one, so that p is not bounded by the number of resamples.
    """
    widening, freedom = np.sqrt(groups / (groups - 1)), groups - 1
    error, critical = drawn.std() * widening, t.ppf((1 + level) / 2, freedom)
    if error <= ROUNDING * np.abs(drawn).max():
        return _bound_constant(float(drawn[0]), groups, level)
    left, right = _Tail(drawn), _Tail(-drawn)
    low, high = left.find_value(-critical * widening), -right.find_value(-critical * widening)
    beyond = -min(left.find_reach(), right.find_reach()) / widening
    smallest = (critical + t.ppf(POWER, freedom)) * error
    return _Bounds(low, high, float(min(1.0, 2 * t.sf(beyond, freedom))), float(smallest))


def _bound_constant(value: float, groups: int, level: float) -> _Bounds:
    """The bounds where each group has the same difference: the signs alone can tell, p = 2 / 2^n."""
    p = 2.0 ** (1 - groups) if value else 1.0
    low, high = (value, value) if p < 1 - level else (min(0.0, value), max(0.0, value))
    return _Bounds(low, high, p, None)


class _Tail:
    """The quantiles of a sample by the normal deviate z of their probability; linear in z beyond the sample."""

    def __init__(self, sample: np.ndarray):
        self.values, self.slope = np.sort(sample), sample.std()
        self.z = norm.ppf(np.arange(1, len(sample) + 1) / (len(sample) + 1))

    def find_value(self, z: float) -> float:
        """The quantile at z."""
        outside = min(0.0, z - self.z[0]) + max(0.0, z - self.z[-1])
        return float(np.interp(z, self.z, self.values) + self.slope * outside)

    def find_reach(self) -> float:
        """The highest z whose quantile is not above 0."""
        after = int(np.searchsorted(self.values, 0.0, side="right"))
        if after == 0:
            return self.z[0] - self.values[0] / self.slope
        if after == len(self.values):
            return self.z[-1] - self.values[-1] / self.slope
        (x0, x1), (z0, z1) = self.values[after - 1 : after + 1], self.z[after - 1 : after + 1]
        return z0 - x0 * (z1 - z0) / (x1 - x0)
