"""A training curve as levels with their errors.

Batch losses are noisy (rows of one batch resemble each other in length and task), so single values say
nothing: a level is a median, and a difference counts when it is several times its standard error. The noise is taken
from the differences between neighbours, which a trend does not change (von Neumann 1941,
https://doi.org/10.1214/aoms/1177731677), and by their median, which spikes do not change.
"""

import bisect
import itertools
import math
from statistics import median
from typing import NamedTuple, TypedDict

MIN_STEPS = 8  # steps after warm-up before anything is said: before, a run looks flat, and rough
SURE = 3.0  # standard errors that a difference must have; with some twenty looks at a run, 2 would cry wolf
OVERFIT = 1.02  # validation loss over its best; below, another checkpoint hardly matters


class CurveRow(TypedDict, total=False):
    """A row of models/train/log.json: a step's loss, or the loss of a validation (nats a token)."""

    step: int
    epoch: float
    loss: float
    grad_norm: float
    learning_rate: float
    eval_loss: float


class _Level(NamedTuple):
    """A median and its standard error."""

    value: float
    error: float


class _Window(NamedTuple):
    """The level of some steps side by side, and the place of the first of them in the lists of `Curves`."""

    level: _Level
    place: int


class Validation(NamedTuple):
    """The loss of the validation rows (nats a token) after a step."""

    step: int
    loss: float


def order_by_loss(validation: Validation) -> tuple[float, int]:
    """The key that orders validations by their loss."""
    return validation.loss, validation.step


class Curves(NamedTuple):
    """The columns of models/train/log.json; all lists except `validations` have an entry a step."""

    steps: list[int]
    losses: list[float]
    rates: list[float]
    epochs: list[float]
    validations: list[Validation]
    noise: float

    @property
    def head_size(self) -> int:
        """How many of the first steps stand for the start: few, since a good run soon leaves it."""
        return max(3, min(20, len(self.losses) // 20))

    @property
    def tail_size(self) -> int:
        """How many of the last steps stand for the end."""
        return max(3, min(200, len(self.losses) // 5))

    @property
    def start_level(self) -> _Level:
        return self.measure_level(0, self.head_size)

    @property
    def end_level(self) -> _Level:
        return self.measure_level(len(self.losses) - self.tail_size, len(self.losses))

    def measure_level(self, first: int, last: int) -> _Level:
        """The level of the train loss over the steps `first` to `last` (exclusive) of the lists."""
        part = self.losses[first:last]
        return _Level(median(part), 1.25 * self.noise / math.sqrt(len(part)))  # 1.25: a median, not a mean

    def split_windows(self, size: int) -> list[_Window]:
        """All windows of `size` steps, side by side."""
        places = range(0, max(1, len(self.losses) - size + 1), size)
        return [_Window(self.measure_level(place, place + size), place) for place in places]

    def find_turn(self) -> Validation | None:
        """The best validation, if the last two are worse beyond their own noise."""
        best = min(self.validations, key=order_by_loss, default=Validation(0, 0.0))
        later = [validation.loss for validation in self.validations if validation.step > best.step]
        return best if len(later) > 1 and min(later[-2:]) > OVERFIT * best.loss else None

    def fell_since(self, step: int) -> bool:
        """Whether the train loss ends lower than it was around a step."""
        place = bisect.bisect_left(self.steps, step)
        return self.end_level.value < self.measure_level(max(0, place - self.tail_size), place + 1).value


def split_columns(log: list[CurveRow]) -> Curves:
    """The rows of models/train/log.json by columns."""
    rows = [row for row in log if "loss" in row]
    losses = [row["loss"] for row in rows]
    return Curves(
        steps=[row.get("step", 0) for row in rows],
        losses=losses,
        rates=[row.get("learning_rate", 0.0) for row in rows],
        epochs=[row.get("epoch", 0.0) for row in rows],
        validations=[Validation(row["step"], row["eval_loss"]) for row in log if "eval_loss" in row],
        noise=_measure_noise(losses),
    )


def _measure_noise(values: list[float]) -> float:
    """The standard deviation around the trend, robust: 1.4826 x median difference of neighbours / sqrt(2)."""
    steps = [abs(b - a) for a, b in itertools.pairwise(values)]
    return 1.4826 * median(steps) / math.sqrt(2) if steps else 0.0


def is_below(low: _Level, high: _Level) -> bool:
    """Whether `low` is lower beyond doubt."""
    return high.value - low.value > SURE * math.hypot(low.error, high.error)


def has_settled(curves: Curves, learning_rate: float) -> bool:
    """Whether MIN_STEPS have passed since warm-up reached half of the learning rate: before, nothing can be said.

    A run that has turned to no number has settled at once.
    """
    rates = curves.rates
    warm = next((place for place, rate in enumerate(rates) if rate >= learning_rate / 2), len(rates))
    return len(rates) - warm >= MIN_STEPS or not all(math.isfinite(loss) for loss in curves.losses)
