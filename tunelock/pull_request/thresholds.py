"""The gate: rules such as `<= main` on the metrics of two commits.

A rule is checked as it is written, on six significant digits (what stands behind them is noise of summation); whether a
difference is more than chance is shown beside it, by the interval of the rows in pairs. `<= main * 1.02` leaves room.

A rule with `main` is undecided where it would mean nothing: both commits have the figure, but not of the same rows or
not counted alike, or of too few groups. A rule with a number needs no other commit and is always decided; what it is
worth stands beside it. `base` is the untuned model on the same rows, and stands for `main` where that has no metrics.
"""

import math
import operator
import re
from typing import Any, NamedTuple, TypedDict

from tunelock.metrics.digits import round_digits
from tunelock.pull_request.likeness import Likeness
from tunelock.run.errors import Stop

COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq}
NUMBER = r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?"
RULE = re.compile(rf"(<=|>=|<|>|==) ?(?:(main|base)(?: ?\* ?({NUMBER}))?|({NUMBER}))")
PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
EXIT = {PASSED: 0, FAILED: 1, UNDECIDED: 2}
UNTUNED = "the base model"
NOT_CHECKED = 3  # exit code: there is nothing to check, such as no revision of that name


class ValuePair(TypedDict, total=False):
    """A value at BASE and here, as `dvc metrics diff --json` and `dvc params diff --json` have it."""

    old: Any
    new: Any


MetricsDiff = dict[str, dict[str, ValuePair]]  # by file and metric


class GateLine(NamedTuple):
    """One check of the gate. result: passed, failed or undecided; value, base: None where there is none.

    base: what the other commit has; owner: whose it is instead.
    """

    metric: str
    rule: str
    value: float | None
    base: float | None
    result: str
    note: str = ""
    owner: str = ""


class _Values(NamedTuple):
    """A metric here, at BASE, and of the untuned model here; None where it is no finite number."""

    key: str
    here: float | None
    main: float | None
    base: float | None


def check_rules(
    rules: dict[str, str], metrics: MetricsDiff, notes: dict[str, str], likeness: Likeness | None = None
) -> list[GateLine]:
    """A line for each rule; `notes` are remarks by metric, such as an interval."""
    known = likeness or Likeness()
    return [_check_rule(name, rule, metrics, notes.get(name, ""), known) for name, rule in rules.items()]


def _check_rule(name: str, rule: str, metrics: MetricsDiff, note: str, likeness: Likeness) -> GateLine:
    """One rule, undecided where a number that it needs is not there or says nothing."""
    written = RULE.fullmatch(str(rule).strip())
    if not written:
        raise Stop(f"params.yaml: gate.{name}: '{rule}' is no rule; write `<= main`, `<= main * 1.02` or `>= 0.95`.")
    sign, other, factor, fixed = written.groups()
    found = _find_values(name, metrics)
    if found is None:
        return GateLine(name, rule, None, None, UNDECIDED, "no metric of this name in metrics/*.json here")
    untuned = other == "base" or (other == "main" and likeness.is_first)
    beside, owner = (found.base, UNTUNED) if untuned else (found.main, "")
    if found.here is None:
        return GateLine(name, rule, None, beside, UNDECIDED, "is no finite number here", owner)
    if other and beside is None:
        missing = "the base model has no such figure" if untuned else "the other commit has no such number"
        return GateLine(name, rule, found.here, None, UNDECIDED, missing)
    bound = round_metric(beside * float(factor or 1) if other else float(fixed))
    holds = COMPARE[sign](round_metric(found.here), bound)
    doubt = _doubt_rule(found, other, beside, likeness)
    result = UNDECIDED if other and doubt else PASSED if holds else FAILED
    note = note if not untuned else ""  # it is about the other commit
    return GateLine(name, rule, found.here, beside, result, "; ".join(filter(None, (doubt, note))), owner)


def _doubt_rule(found: _Values, other: str, beside: float | None, likeness: Likeness) -> str:
    """Why a rule means nothing; of one with a number, which means what it says, what is to be known of it."""
    unlike = "" if other == "base" or likeness.is_first else likeness.explain(found.key)
    small = likeness.explain_small(found.key)
    if not other:
        told = unlike and f"{unlike}, which a number as the bound does not need"
        return "; ".join(filter(None, (told, small)))
    same = found.here is not None and beside is not None and round_metric(found.here) == round_metric(beside)
    return unlike or ("" if same else small)


def _find_values(name: str, metrics: MetricsDiff) -> _Values | None:
    """A metric, whose file may stand before it, `claims.test_loss.difference`; None if there is no such.

    Raises:
        Stop: two files have a metric of that name.
    """
    found = {}
    for file, values in metrics.items():
        stem = file.rpartition("/")[2].removesuffix(".json")
        for key, pair in values.items():
            if name in (key, f"{stem}.{key}"):
                untuned = values.get(re.sub("_tuned$", "_base", key), {}) if key.endswith("_tuned") else {}
                numbers = [keep_finite(value) for value in (pair.get("new"), pair.get("old"), untuned.get("new"))]
                found[f"{stem}.{key}"] = _Values(key, *numbers)
    if len(found) > 1:
        raise Stop(f"params.yaml: gate.{name} is in two files; write one of {', '.join(sorted(found))}.")
    return next(iter(found.values()), None)


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
