"""The gate: rules such as `<= main` on the metrics of two commits.

A rule is checked as it is written, on six significant digits (what stands behind them is noise of summation); whether a
difference is more than chance is shown beside it, by the interval of the rows in pairs. `<= main * 1.02` leaves room.
"""

import math
import operator
import re
from typing import Any, NamedTuple, TypedDict

from tunelock.metrics.digits import round_digits
from tunelock.run.errors import Stop

COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq}
NUMBER = r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?"
RULE = re.compile(rf"(<=|>=|<|>|==) ?(?:(main)(?: ?\* ?({NUMBER}))?|({NUMBER}))")
PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
EXIT = {PASSED: 0, FAILED: 1, UNDECIDED: 2}


class ValuePair(TypedDict, total=False):
    """A value at BASE and here, as `dvc metrics diff --json` and `dvc params diff --json` have it."""

    old: Any
    new: Any


MetricsDiff = dict[str, dict[str, ValuePair]]  # by file and metric


class GateLine(NamedTuple):
    """One check of the gate. result: passed, failed or undecided; value, base: None where there is none."""

    metric: str
    rule: str
    value: float | None
    base: float | None
    result: str
    note: str = ""


class _Values(NamedTuple):
    """A metric here and at BASE, None where it is no finite number."""

    here: float | None
    base: float | None


def check_rules(rules: dict[str, str], metrics: MetricsDiff, notes: dict[str, str]) -> list[GateLine]:
    """A line for each rule; `notes` are remarks by metric, such as an interval."""
    return [_check_rule(name, rule, metrics, notes.get(name, "")) for name, rule in rules.items()]


def _check_rule(name: str, rule: str, metrics: MetricsDiff, note: str) -> GateLine:
    """One rule, undecided where a number that it needs is not there."""
    written = RULE.fullmatch(str(rule).strip())
    if not written:
        raise Stop(f"params.yaml: gate.{name}: '{rule}' is no rule; write `<= main`, `<= main * 1.02` or `>= 0.95`.")
    sign, main, factor, fixed = written.groups()
    found = _find_values(name, metrics)
    if found is None:
        return GateLine(name, rule, None, None, UNDECIDED, "no metric of this name in metrics/*.json here")
    value, base = found
    if value is None:
        return GateLine(name, rule, None, base, UNDECIDED, "is no finite number here")
    if main and base is None:
        return GateLine(name, rule, value, None, UNDECIDED, "the other commit has no such number")
    bound = round_metric(base * float(factor or 1) if main else float(fixed))
    holds = COMPARE[sign](round_metric(value), bound)
    return GateLine(name, rule, value, base, PASSED if holds else FAILED, note)


def _find_values(name: str, metrics: MetricsDiff) -> _Values | None:
    """A metric, whose file may stand before it, `claims.test_loss.difference`; None if there is no such.

    Raises:
        Stop: two files have a metric of that name.
    """
    found = {}
    for file, values in metrics.items():
        stem = file.rpartition("/")[2].removesuffix(".json")
        found |= {f"{stem}.{key}": pair for key, pair in values.items() if name in (key, f"{stem}.{key}")}
    if len(found) > 1:
        raise Stop(f"params.yaml: gate.{name} is in two files; write one of {', '.join(sorted(found))}.")
    for pair in found.values():
        return _Values(keep_finite(pair.get("new")), keep_finite(pair.get("old")))
    return None


def keep_finite(value: object) -> float | None:
    """The value if it is a finite number, None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def round_metric(value: float) -> float:
    """The value with six significant digits."""
    return round_digits(float(value))


def judge_gate(lines: list[GateLine]) -> str:
    """failed if one line failed, else undecided if one is, else passed."""
    results = {line.result for line in lines}
    return next((result for result in (FAILED, UNDECIDED) if result in results), PASSED)
