"""A training curve as levels with their errors.

Batch losses are noisy (rows of one batch resemble each other in length and task), so nothing is told from single
values: a level is a median, and a difference counts when it is several times its standard error. The noise is taken
from the differences between neighbours, which a trend does not change (von Neumann 1941,
https://doi.org/10.1214/aoms/1177731677), and by their median, which spikes do not change.
"""

import itertools
import math
from statistics import median
from typing import NamedTuple

MIN_STEPS = 8  # steps after warm-up before anything is said: before, a run looks flat, and rough
SURE = 3.0  # standard errors that a difference must have; with some twenty looks at a run, 2 would cry wolf


class Level(NamedTuple):
    """A median and its standard error."""

    value: float
    error: float


class Curves(NamedTuple):
    """The columns of models/train/log.json; all lists but `evals`, pairs of step and loss, have an entry a step."""

    steps: list[int]
    losses: list[float]
    norms: list[float]
    rates: list[float]
    epochs: list[float]
    evals: list[tuple[int, float]]
    noise: float

    @property
    def edge(self) -> int:
        """How many of the first steps stand for the start: few, since a good run soon leaves it."""
        return max(3, min(20, len(self.losses) // 20))

    @property
    def tail(self) -> int:
        """How many of the last steps stand for the end."""
        return max(3, min(200, len(self.losses) // 5))

    def level(self, first: int, last: int) -> Level:
        """The level of the train loss over the steps `first` to `last` (exclusive) of the lists."""
        part = self.losses[first:last]
        return Level(median(part), 1.25 * self.noise / math.sqrt(len(part)))  # 1.25: a median, not a mean

    def start(self) -> Level:
        return self.level(0, self.edge)

    def windows(self, size: int) -> list[tuple[Level, int]]:
        """The levels of all windows of `size` steps, side by side, and where each begins."""
        return [(self.level(i, i + size), i) for i in range(0, max(1, len(self.losses) - size + 1), size)]

    def end(self) -> Level:
        return self.level(len(self.losses) - self.tail, len(self.losses))


def columns(curve: list[dict]) -> Curves:
    """The curve (see `tunelock.training.trainer.curve`) by columns."""
    rows = [row for row in curve if "loss" in row]
    picked = [[row.get(key, default) for row in rows] for key, default in
              (("step", 0), ("loss", 0.0), ("grad_norm", 0.0), ("learning_rate", 0.0), ("epoch", 0.0))]  # fmt: skip
    evals = [(row["step"], row["eval_loss"]) for row in curve if "eval_loss" in row]
    return Curves(*picked, evals, noise(picked[1]))


def noise(values: list[float]) -> float:
    """The standard deviation around the trend, robust: 1.4826 x median difference of neighbours / sqrt(2)."""
    steps = [abs(b - a) for a, b in itertools.pairwise(values)]
    return 1.4826 * median(steps) / math.sqrt(2) if steps else 0.0


def below(low: Level, high: Level) -> bool:
    """Whether `low` is lower beyond doubt."""
    return high.value - low.value > SURE * math.hypot(low.error, high.error)


def settled(c: Curves, learning_rate: float) -> bool:
    """Whether MIN_STEPS have passed since warm-up reached half of the learning rate: before, nothing can be told.

    A run that has turned to no number is settled at once.
    """
    warm = next((place for place, rate in enumerate(c.rates) if rate >= learning_rate / 2), len(c.rates))
    return len(c.rates) - warm >= MIN_STEPS or not all(math.isfinite(loss) for loss in c.losses)
