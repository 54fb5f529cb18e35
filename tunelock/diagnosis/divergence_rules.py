"""Whether a run diverges: its loss is no number, rises above its start, or rises again from what it had reached."""

import math
from typing import NamedTuple

from tunelock.diagnosis.levels import OVERFIT, SURE, Curves, Validation, is_below, order_by_loss

WORSE = 1.1  # times its lowest level, or its start: beyond doubt not learning
RISE, RISE_EVAL = 1.3, 1.15  # times its start: a few steps in a row, or a validation, must never be that bad
RECOVERED = 0.9  # times its start: a validation loss as low as that has left the trouble behind
TORN = 2.0  # validation loss over its best: rows learnt by heart do not cost that much, weights torn apart do


class Symptom(NamedTuple):
    """What a rule saw: at which step, and the numbers in a sentence."""

    step: int
    evidence: str


def find_divergence(curves: Curves) -> Symptom | None:
    """The loss is no number, or rises above its start, or ends above what it had reached."""
    for step, loss in zip(curves.steps, curves.losses):
        if not math.isfinite(loss):
            return Symptom(step, f"the train loss is {loss} at step {step}.")
    return _find_rise(curves) or _find_relapse(curves)


def _find_rise(curves: Curves) -> Symptom | None:
    """Train or validation loss went above the start and stayed in that region."""
    start = curves.measure_level(0, 3)
    if curves.validations and curves.validations[-1].loss < RECOVERED * start.value:
        return None
    high, place = max(curves.split_windows(max(5, curves.head_size)))
    if is_below(start, high) and high.value > RISE * start.value:
        return Symptom(curves.steps[place], f"the train loss rose from {start.value:.3f} to {high.value:.3f}.")
    worst = max(curves.validations, key=order_by_loss, default=Validation(0, 0.0))
    if worst.loss > start.value * RISE_EVAL and worst.loss - start.value > SURE * start.error:
        seen = f"the train loss started at {start.value:.3f}, the validation loss rose to {worst.loss:.3f}."
        return Symptom(worst.step, seen)
    return None


def _find_relapse(curves: Curves) -> Symptom | None:
    """The loss fell and then rose again, on train as well as on validation."""
    best, end = curves.find_turn(), curves.end_level
    if best and (not curves.fell_since(best.step) or _highest_after(curves, best.step) > TORN * best.loss):
        return Symptom(
            best.step,
            f"after step {best.step} the validation loss rose from {best.loss:.3f} to "
            f"{curves.validations[-1].loss:.3f}, and the train loss is at {end.value:.3f}.",
        )
    lowest = min((validation.loss for validation in curves.validations), default=0.0)
    if len(curves.validations) > 1 and curves.validations[-1].loss < OVERFIT * lowest:
        return None  # no more than hard batches at the end
    low, place = min(curves.split_windows(max(5, len(curves.losses) // 5)))
    if is_below(low, end) and end.value > WORSE * low.value:
        seen = f"the train loss had been at {low.value:.3f} and is at {end.value:.3f}."
        return Symptom(curves.steps[place], seen)
    return None


def _highest_after(curves: Curves, step: int) -> float:
    """The highest validation loss after a step that is not the last."""
    return max(validation.loss for validation in curves.validations if validation.step > step)
