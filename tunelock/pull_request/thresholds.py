"""The gate: rules such as `<= main` on the metrics of two commits.

A rule is checked as it is written, on six significant digits (what stands behind them is noise of summation); whether a
difference is more than chance is shown beside it, by the interval of the rows in pairs. `<= main * 1.02` leaves room.
"""

import math
import operator
import re
from typing import NamedTuple

from tunelock.metrics.digits import short
from tunelock.run.errors import Stop

COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq}
NUMBER = r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?"
RULE = re.compile(rf"(<=|>=|<|>|==) ?(?:(main)(?: ?\* ?({NUMBER}))?|({NUMBER}))")
Metrics = dict[str, dict[str, dict]]  # file: metric: {"old": at BASE, "new": here}, as `dvc metrics diff --json` has it
PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
EXIT = {PASSED: 0, FAILED: 1, UNDECIDED: 2}


class Line(NamedTuple):
    """One check of the gate. result: passed, failed or undecided; value, base: None where there is none."""

    metric: str
    rule: str
    value: float | None
    base: float | None
    result: str
    note: str = ""


def check(rules: dict[str, str], metrics: Metrics, notes: dict[str, str]) -> list[Line]:
    """A line for each rule; `notes` are remarks by metric, such as an interval."""
    return [check_one(name, rule, metrics, notes.get(name, "")) for name, rule in rules.items()]


def check_one(name: str, rule: str, metrics: Metrics, note: str = "") -> Line:
    """One rule, undecided where a number that it needs is not there."""
    written = RULE.fullmatch(str(rule).strip())
    if not written:
        raise Stop(f"params.yaml: gate.{name}: '{rule}' is no rule; write `<= main`, `<= main * 1.02` or `>= 0.95`.")
    sign, main, factor, fixed = written.groups()
    found = lookup(name, metrics)
    if found is None:
        return Line(name, rule, None, None, UNDECIDED, "no metric of this name in metrics/*.json here")
    value, base = found
    if value is None:
        return Line(name, rule, None, base, UNDECIDED, "is no finite number here")
    if main and base is None:
        return Line(name, rule, value, None, UNDECIDED, "the other commit has no such number")
    bound = rounded(base * float(factor or 1) if main else float(fixed))
    return Line(name, rule, value, base, PASSED if COMPARE[sign](rounded(value), bound) else FAILED, note)


def lookup(name: str, metrics: Metrics) -> tuple[float | None, float | None] | None:
    """(here, at BASE) of a metric; its file may stand before it, `claims.test_loss.difference`; None: there is no such.

    Raises:
        Stop: two files have a metric of that name.
    """
    found = {}
    for file, values in metrics.items():
        stem = file.rpartition("/")[2].removesuffix(".json")
        found |= {f"{stem}.{key}": pair for key, pair in values.items() if name in (key, f"{stem}.{key}")}
    if len(found) > 1:
        raise Stop(f"params.yaml: gate.{name} is in two files; write one of {', '.join(sorted(found))}.")
    return next(((finite(pair.get("new")), finite(pair.get("old"))) for pair in found.values()), None)


def finite(value: object) -> float | None:
    """The value if it is a finite number, None otherwise."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else None


def rounded(value: float) -> float:
    """The value with six significant digits."""
    return short(float(value))


def outcome(lines: list[Line]) -> str:
    """failed if one line failed, else undecided if one is, else passed."""
    results = {line.result for line in lines}
    return next((result for result in (FAILED, UNDECIDED) if result in results), PASSED)
