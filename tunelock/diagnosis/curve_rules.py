"""What a training curve shows, by stated rules; `tunelock.diagnosis.diagnosis` turns it into verdicts."""

import math
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from tunelock.diagnosis.divergence_rules import Symptom, find_divergence
from tunelock.diagnosis.levels import SURE, Curves

FLAT = 0.05  # a fall of the validation loss by a smaller share is none: runs that learn show twice that and more
FLAT_EVALS = 3  # validations before that is said: the second is often close to the first
FLAT_STEPS = 100  # and steps, where there are no validations
FLAT_TRAIN = 0.08  # the same for the train loss, whose start and end are noisier
SPIKE = 6.0  # noise levels above the local level, in 100 steps; losses of small batches have heavy tails, 4 is common
SPIKE_WIDTH = 7  # neighbours on each side that make the local level
SPIKE_RATIO = 1.5  # and that many times the local level
ROUGH = 4  # turns of the validation loss that make it oscillate; overfitting has one
SWING, SWING_NATS = 0.03, 0.01  # smaller turns of the validation loss, as a share and in nats, are its own noise
MEMORISED = 0.5  # train loss over validation loss
GAP = 0.2  # nats between them; labels may be known at 0.02 and 0.05 nats, and nothing is wrong
LOW_START = 0.3  # nats a token: 74 % right at every token before anything was learnt
BY_HEART = 0.3  # nats a token at the end of train that started well above: its rows are known by heart
NO_GAP = 1.5  # validation over train loss then: rows never seen are known by heart as well
RECITED = 0.5  # validation loss at the end over that after one epoch: what is easy, like labels, is learnt by then


def _find_flatness(curves: Curves) -> Symptom | None:
    """Neither validation nor train loss fell to speak of."""
    start, end = curves.start_level, curves.end_level
    if find_divergence(curves) or start.value - end.value > FLAT_TRAIN * start.value:
        return None
    if len(curves.validations) >= FLAT_EVALS:
        first, last = curves.validations[0], curves.validations[-1]
        if first.loss - last.loss > FLAT * first.loss:
            return None
        seen = (
            f"; from step {first.step} to {last.step} the validation loss went from {first.loss:.3f} to {last.loss:.3f}"
        )
    elif len(curves.losses) < FLAT_STEPS or SURE * math.hypot(start.error, end.error) > FLAT_TRAIN * start.value:
        return None  # too early to say, or batches so noisy that they could hide a fall
    else:
        seen = ""
    return Symptom(curves.steps[-1], f"the train loss went from {start.value:.3f} to {end.value:.3f}{seen}.")


class _Spike(NamedTuple):
    """A step far above its neighbours: by how much (nats), its place in the curves, the neighbours' median."""

    height: float
    place: int
    local: float


def _find_spikes(curves: Curves) -> Symptom | None:
    """Single steps far above their neighbours, after warm-up."""
    losses, spikes = curves.losses, []
    limit = SPIKE * max(1.0, math.log10(len(losses)) / 2)  # the more steps, the further the tail of the noise reaches
    for place in range(SPIKE_WIDTH, len(losses)):
        local = median(losses[place - SPIKE_WIDTH : place] + losses[place + 1 : place + 1 + SPIKE_WIDTH])
        if losses[place] > max(local + limit * curves.noise, local * SPIKE_RATIO):
            spikes.append(_Spike(losses[place] - local, place, local))
    if not spikes:
        return None
    _, place, local = max(spikes)
    step = curves.steps[place]
    return Symptom(
        step,
        f"{len(spikes)} of {len(losses)} steps stand out; the loss of step {step} is {losses[place]:.2f} where "
        f"its neighbours have {local:.2f} +-{curves.noise:.2f}.",
    )


def _find_oscillation(curves: Curves) -> Symptom | None:
    """The validation loss goes up and down."""
    losses = [validation.loss for validation in curves.validations]
    turns = _count_turns(losses)
    if turns < ROUGH:
        return None
    seen = f"the validation loss turned {turns} times, between {min(losses):.3f} and {max(losses):.3f}."
    return Symptom(curves.validations[-1].step, seen)


def _count_turns(losses: list[float]) -> int:
    """How often the losses change from falling to rising or back, moves within their own noise not counted."""
    turns, direction, mark = 0, 0, losses[0] if losses else 0.0
    for loss in losses:
        swing = max(SWING_NATS, SWING * mark)
        move = (loss > mark + swing) - (loss < mark - swing)
        turns += bool(move and direction and move != direction)
        direction = move or direction
        mark = loss if move or (loss - mark) * direction > 0 else mark
    return turns


def _find_overfitting(curves: Curves) -> Symptom | None:
    """The validation loss turned up for good while the train loss went on falling."""
    best = curves.find_turn()
    if not best or find_divergence(curves) or not curves.fell_since(best.step):
        return None
    return Symptom(
        best.step,
        f"the validation loss was lowest at step {best.step}, {best.loss:.3f}, and rose to "
        f"{curves.validations[-1].loss:.3f}, while the train loss fell to {curves.end_level.value:.3f}.",
    )


def _find_memorising(curves: Curves) -> Symptom | None:
    """Rows of train are known far better than unseen ones."""
    if not curves.validations:
        return None
    end, unseen = curves.end_level, curves.validations[-1].loss
    if end.value + SURE * end.error > min(MEMORISED * unseen, unseen - GAP):
        return None
    seen = f"the train loss ends at {end.value:.3f}, the validation loss at {unseen:.3f}."
    return Symptom(curves.steps[-1], seen)


def _find_leak(curves: Curves) -> Symptom | None:
    """After several epochs unseen rows are known by heart like the learnt ones."""
    start, end, epochs = curves.start_level.value, curves.end_level.value, curves.epochs[-1]
    if not curves.validations or epochs < 2 or start < 2 * BY_HEART or end > BY_HEART:
        return None
    steps_an_epoch, last = curves.steps[-1] / epochs, curves.validations[-1]
    within = [validation.loss for validation in curves.validations if validation.step <= steps_an_epoch]
    early = within[-1] if within else curves.validations[0].loss
    if last.loss > min(BY_HEART, NO_GAP * end, RECITED * early):
        return None
    return Symptom(
        last.step,
        f"after {epochs:.1f} epochs the train loss fell from {start:.3f} to {end:.3f}, and on rows said to be "
        f"unseen the validation loss fell to {last.loss:.3f}.",
    )


def _find_low_start(curves: Curves) -> Symptom | None:
    """The loss is too good to be true before anything is learnt."""
    first = curves.start_level
    if first.value + first.error > LOW_START:
        return None
    seen = f"the train loss starts at {first.value:.3f} nats a token, before anything is learnt."
    return Symptom(curves.steps[0], seen)


# The verdict that each rule gives, in the order in which they are said.
CURVE_RULES: dict[str, Callable[[Curves], Symptom | None]] = {
    "low_at_start": _find_low_start,
    "diverging": find_divergence,
    "spiking": _find_spikes,
    "oscillating": _find_oscillation,
    "flat": _find_flatness,
    "overfitting": _find_overfitting,
    "memorised": _find_memorising,
    "leaked": _find_leak,
}
