"""Tests beside the intervals of `claims.uncertainty`: for right and wrong answers, and for many tests at once."""

from collections.abc import Sequence

from scipy.stats import binomtest


def compute_mcnemar(base: Sequence[int], tuned: Sequence[int]) -> float:
    """McNemar's exact two-sided p: are the rows that one model alone gets right as often those of either?

    Args:
        base, tuned: right (1) or wrong (0), the same rows in the same order. Rows count as independent.

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996, with the binomial distribution.
    """
    lost = sum(bool(a) and not b for a, b in zip(base, tuned, strict=True))
    won = sum(bool(b) and not a for a, b in zip(base, tuned, strict=True))
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def adjust_by_holm(values: dict[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down adjusted p-values of a family, by name; None (no test) stays None and is not counted.

    Comparing each with a level keeps the chance of any false finding in the family below it, whatever the tests have
    to do with each other. Source: Holm 1979, https://www.jstor.org/stable/4615733.
    """
    ordered = sorted((p, name) for name, p in values.items() if p is not None)
    adjusted, largest = dict.fromkeys(values), 0.0
    for place, (p, name) in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p))
        adjusted[name] = largest
    return adjusted
