"""What a training curve shows, by stated rules; `tunelock.diagnosis.diagnosis` turns it into verdicts."""

import bisect
import math
from statistics import median
from typing import NamedTuple

from tunelock.diagnosis.levels import SURE, Curves, below

FLAT = 0.05  # a fall of the validation loss by a smaller share is none: runs that learn show twice that and more
FLAT_EVALS = 3  # validations before that is said: the second is often close to the first
FLAT_STEPS = 100  # and steps, where there are no validations
FLAT_TRAIN = 0.08  # the same for the train loss, whose start and end are noisier
SPIKE = 6.0  # noise levels above the local level, in 100 steps; losses of small batches have heavy tails, 4 is common
SPIKE_RATIO = 1.5  # and that many times the local level
ROUGH = 4  # turns of the validation loss that make it oscillate; overfitting has one
SWING, SWING_NATS = 0.03, 0.01  # smaller turns of the validation loss, as a share and in nats, are its own noise
WORSE = 1.1  # times its lowest level, or its start: beyond doubt not learning
RISE, RISE_EVAL = 1.3, 1.15  # times its start: never may a few steps in a row, or a validation, be that bad
RECOVERED = 0.9  # times its start: a validation loss as low as that has left the trouble behind
TORN = 2.0  # validation loss over its best: rows learnt by heart do not cost that much, weights torn apart do
OVERFIT = 1.02  # validation loss over its best; below, another checkpoint hardly matters
MEMORISED = 0.5  # train loss over validation loss
GAP = 0.2  # nats between them; labels may be known at 0.02 and 0.05 nats, and nothing is wrong
LOW_START = 0.3  # nats a token: 74 % right at every token before anything was learnt
BY_HEART = 0.3  # nats a token at the end of train that started well above: its rows are known by heart
NO_GAP = 1.5  # validation over train loss then: rows never seen are known by heart as well
RECITED = 0.5  # validation loss at the end over that after one epoch: what is easy, like labels, is learnt by then


class Finding(NamedTuple):
    """What a rule saw: at which step (None: over the whole run), and the numbers in a sentence."""

    step: int | None
    evidence: str


def flat(c: Curves) -> Finding | None:
    """Neither validation nor train loss fell to speak of."""
    start, end = c.start(), c.end()
    if diverging(c) or start.value - end.value > FLAT_TRAIN * start.value:
        return None
    if len(c.evals) >= FLAT_EVALS:
        (first, before), (last, after) = c.evals[0], c.evals[-1]
        if before - after > FLAT * before:
            return None
        seen = f"; from step {first} to {last} the validation loss went from {before:.3f} to {after:.3f}"
    elif len(c.losses) < FLAT_STEPS or SURE * math.hypot(start.error, end.error) > FLAT_TRAIN * start.value:
        return None  # too early to say, or batches so noisy that they could hide a fall
    else:
        seen = ""
    return Finding(c.steps[-1], f"the train loss went from {start.value:.3f} to {end.value:.3f}{seen}.")


def spiking(c: Curves) -> Finding | None:
    """Single steps far above their neighbours, after warm-up."""
    width, scatter, spikes = 7, c.noise, []
    limit = SPIKE * max(1.0, math.log10(len(c.losses)) / 2)  # the more steps, the further the tail of the noise reaches
    for i in range(width, len(c.losses)):
        local = median(c.losses[i - width : i] + c.losses[i + 1 : i + 1 + width])
        if c.losses[i] > max(local + limit * scatter, local * SPIKE_RATIO):
            spikes.append((c.losses[i] - local, i, local))
    if not spikes:
        return None
    _, i, local = max(spikes)
    return Finding(
        c.steps[i],
        f"{len(spikes)} of {len(c.losses)} steps stand out; the loss of step {c.steps[i]} is {c.losses[i]:.2f} where "
        f"its neighbours have {local:.2f} +-{scatter:.2f}.",
    )


def oscillating(c: Curves) -> Finding | None:
    """The validation loss goes up and down."""
    turns, direction, mark = 0, 0, c.evals[0][1] if c.evals else 0.0
    for _, loss in c.evals:
        step = max(SWING_NATS, SWING * mark)
        move = (loss > mark + step) - (loss < mark - step)
        turns += bool(move and direction and move != direction)
        direction = move or direction
        mark = loss if move or (loss - mark) * direction > 0 else mark
    if turns < ROUGH:
        return None
    low, high = min(loss for _, loss in c.evals), max(loss for _, loss in c.evals)
    return Finding(c.evals[-1][0], f"the validation loss turned {turns} times, between {low:.3f} and {high:.3f}.")


def diverging(c: Curves) -> Finding | None:
    """The loss is no number, or rises above its start, or ends above what it had reached."""
    for step, loss in zip(c.steps, c.losses):
        if not math.isfinite(loss):
            return Finding(step, f"the train loss is {loss} at step {step}.")
    return rose(c) or came_back(c)


def rose(c: Curves) -> Finding | None:
    """Train or validation loss went above the start and stayed in that region."""
    start = c.level(0, 3)
    if c.evals and c.evals[-1][1] < RECOVERED * start.value:
        return None
    high, place = max(c.windows(max(5, c.edge)))
    if below(start, high) and high.value > RISE * start.value:
        return Finding(c.steps[place], f"the train loss rose from {start.value:.3f} to {high.value:.3f}.")
    worst, step = max(((loss, step) for step, loss in c.evals), default=(0.0, 0))
    if worst > start.value * RISE_EVAL and worst - start.value > SURE * start.error:
        return Finding(step, f"the train loss started at {start.value:.3f}, the validation loss rose to {worst:.3f}.")
    return None


def came_back(c: Curves) -> Finding | None:
    """The loss fell and then rose again, on train as well as on validation."""
    best, end = turned_up(c), c.end()
    if best and (not fell_since(c, best[0]) or max(loss for step, loss in c.evals if step > best[0]) > TORN * best[1]):
        return Finding(
            best[0],
            f"after step {best[0]} the validation loss rose from {best[1]:.3f} to {c.evals[-1][1]:.3f}, and the train "
            f"loss is at {end.value:.3f}.",
        )
    if len(c.evals) > 1 and c.evals[-1][1] < OVERFIT * min(loss for _, loss in c.evals):
        return None  # no more than hard batches at the end
    low, place = min(c.windows(max(5, len(c.losses) // 5)))
    if below(low, end) and end.value > WORSE * low.value:
        return Finding(c.steps[place], f"the train loss had been at {low.value:.3f} and is at {end.value:.3f}.")
    return None


def overfitting(c: Curves) -> Finding | None:
    """The validation loss turned up for good while the train loss went on falling."""
    found = turned_up(c)
    if not found or diverging(c) or not fell_since(c, found[0]):
        return None
    return Finding(
        found[0], f"the validation loss was lowest at step {found[0]}, {found[1]:.3f}, and rose to "
        f"{c.evals[-1][1]:.3f}, while the train loss fell to {c.end().value:.3f}.")  # fmt: skip


def turned_up(c: Curves) -> tuple[int, float] | None:
    """The best validation, if the last two are worse beyond their own noise."""
    best, step = min(((loss, step) for step, loss in c.evals), default=(0.0, 0))
    later = [loss for at, loss in c.evals if at > step]
    return (step, best) if len(later) > 1 and min(later[-2:]) > OVERFIT * best else None


def fell_since(c: Curves, step: int) -> bool:
    """Whether the train loss ends lower than it was around a step."""
    place = bisect.bisect_left(c.steps, step)
    return c.end().value < c.level(max(0, place - c.tail), place + 1).value


def memorised(c: Curves) -> Finding | None:
    """Rows of train are known far better than unseen ones."""
    known = c.end().value + SURE * c.end().error
    if not c.evals or known > min(MEMORISED * c.evals[-1][1], c.evals[-1][1] - GAP):
        return None
    seen = f"the train loss ends at {c.end().value:.3f}, the validation loss at {c.evals[-1][1]:.3f}."
    return Finding(c.steps[-1], seen)


def leaked(c: Curves) -> Finding | None:
    """After several epochs unseen rows are known by heart like the learnt ones."""
    start, end = c.start().value, c.end().value
    if not c.evals or c.epochs[-1] < 2 or start < 2 * BY_HEART or end > BY_HEART:
        return None
    epoch, (step, last) = c.steps[-1] / c.epochs[-1], c.evals[-1]
    early = [loss for at, loss in c.evals if at <= epoch][-1:] or [c.evals[0][1]]
    if last > min(BY_HEART, NO_GAP * end, RECITED * early[0]):
        return None
    return Finding(
        step,
        f"after {c.epochs[-1]:.1f} epochs the train loss fell from {start:.3f} to {end:.3f}, and on rows said to be "
        f"unseen the validation loss fell to {last:.3f}.",
    )


def low_at_start(c: Curves) -> Finding | None:
    """The loss is too good to be true before anything is learnt."""
    first = c.start()
    if first.value + first.error > LOW_START:
        return None
    return Finding(c.steps[0], f"the train loss starts at {first.value:.3f} nats a token, before anything is learnt.")


RULES = {
    rule.__name__: rule
    for rule in (low_at_start, diverging, spiking, oscillating, flat, overfitting, memorised, leaked)
}
