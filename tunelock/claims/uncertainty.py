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


def paired(
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
    measured = statistics[:, :, 1].any(axis=1)
    kept = [group for group, has in zip(groups, measured, strict=True) if has]
    return paired_statistic(statistics[measured], ratio, kept, level, samples, seed)


def paired_statistic(
    statistics: np.ndarray, of: Callable[[np.ndarray], np.ndarray], groups: Sequence[str],
    level: float, samples: int, seed: int = 0,
) -> Interval:  # fmt: skip
    """The difference of any score that follows from summed statistics of rows, as BLEU follows from counts.

    Args:
        statistics: shape (rows, 2, k), the statistics of each row for base and tuned.
        of: turns sums of shape (..., k) into scores of shape (...).
        groups, level, samples, seed: as in `paired`.
    """
    sums = group_sums(statistics, groups)
    base, tuned = (float(score) for score in of(sums.sum(axis=0)))
    drawn = of(resampled(sums, samples, seed)) if len(sums) >= MIN_GROUPS else np.empty((0, 2))
    found = bounds(differences(drawn), len(sums), level) if len(drawn) else (None, None, None, None)
    return Interval(base, tuned, float(differences(np.array([[base, tuned]]))[0]), *found, len(sums))


def alone(
    statistics: np.ndarray, of: Callable[[np.ndarray], np.ndarray], groups: Sequence[str],
    level: float, samples: int, seed: int = 0,
) -> tuple[float | None, float | None]:  # fmt: skip
    """The interval of one model's own score, from its statistics, shape (rows, k)."""
    both = np.stack([statistics, statistics], axis=1)
    found = paired_statistic(both, lambda sums: of(sums) * np.array([0, 1]), groups, level, samples, seed)
    return found.low, found.high


def ratio(sums: np.ndarray) -> np.ndarray:
    """The first statistic over the second."""
    return sums[..., 0] / sums[..., 1]


def group_sums(statistics: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """The statistics summed by group, shape (groups, 2, k)."""
    names, place = np.unique(np.array(groups, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), *statistics.shape[1:]))
    np.add.at(sums, place, statistics)
    return sums


def resampled(sums: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """The sums over as many groups as there are, drawn with replacement, `samples` times; shape (samples, 2, k)."""
    draw, count, flat = np.random.default_rng(seed), len(sums), sums.reshape(len(sums), -1)
    found, size = [], max(1, BLOCK // count)
    for start in range(0, samples, size):
        block = min(size, samples - start)
        chosen = draw.integers(count, size=(block, count)) + count * np.arange(block)[:, None]
        often = np.bincount(chosen.ravel(), minlength=block * count).reshape(block, count)
        found.append(often.astype(float) @ flat)
    return np.concatenate(found).reshape(samples, *sums.shape[1:])


def differences(scores: np.ndarray) -> np.ndarray:
    """Tuned less base, shape (n, 2) to (n,); what rounding alone can make is 0."""
    found = scores[:, 1] - scores[:, 0]
    return np.where(np.abs(found) <= ROUNDING * np.abs(scores).max(axis=1), 0.0, found)


def bounds(drawn: np.ndarray, groups: int, level: float) -> tuple[float, float, float, float | None]:
    """low, high, p and smallest effect from resampled differences.

    The percentiles are those of a normal distribution at Student's t times sqrt(n / (n - 1)); beyond the outermost
    resamples the distribution goes on as a normal one, so that p is not bounded by the number of resamples.
    """
    widening, freedom = np.sqrt(groups / (groups - 1)), groups - 1
    error, critical = drawn.std() * widening, t.ppf((1 + level) / 2, freedom)
    smallest = (critical + t.ppf(POWER, freedom)) * error
    if error <= ROUNDING * np.abs(drawn).max():
        return *certain(float(drawn[0]), groups, level), None
    left, right = Tail(drawn), Tail(-drawn)
    low, high = left.value(-critical * widening), -right.value(-critical * widening)
    beyond = -min(left.reach(), right.reach()) / widening
    return low, high, float(min(1.0, 2 * t.sf(beyond, freedom))), float(smallest)


def certain(value: float, groups: int, level: float) -> tuple[float, float, float]:
    """low, high and p where each group has the same difference: the signs alone can tell, p = 2 / 2^n."""
    p = 2.0 ** (1 - groups) if value else 1.0
    return (value, value, p) if p < 1 - level else (min(0.0, value), max(0.0, value), p)


class Tail:
    """The quantiles of a sample by the normal deviate z of their probability; linear in z beyond the sample."""

    def __init__(self, sample: np.ndarray):
        self.values, self.slope = np.sort(sample), sample.std()
        self.z = norm.ppf(np.arange(1, len(sample) + 1) / (len(sample) + 1))

    def value(self, z: float) -> float:
        """The quantile at z."""
        outside = min(0.0, z - self.z[0]) + max(0.0, z - self.z[-1])
        return float(np.interp(z, self.z, self.values) + self.slope * outside)

    def reach(self) -> float:
        """The highest z whose quantile is not above 0."""
        after = int(np.searchsorted(self.values, 0.0, side="right"))
        if after == 0:
            return self.z[0] - self.values[0] / self.slope
        if after == len(self.values):
            return self.z[-1] - self.values[-1] / self.slope
        (x0, x1), (z0, z1) = self.values[after - 1 : after + 1], self.z[after - 1 : after + 1]
        return z0 - x0 * (z1 - z0) / (x1 - x0)
