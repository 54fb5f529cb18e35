"""What a metric is. From these entries follows every list of metrics: what is measured, claimed, shown and versioned.

A score is a function of sums: `statistics` are counted row by row, and `score` is taken of what they add up to. So it
can be had for a split, a task or a resample of groups without looking at the texts again.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tunelock.records.scored_row import ScoredRow

MAX_LABELS = 200  # with more, a label has a row or two and macro-F1 says little; its table would not fit either


class Column(NamedTuple):
    """The column of a metric in metrics/scores.csv, in which pull requests compare two commits row by row.

    summed: it holds the sum over the row's tokens, and its mean is by token.
    """

    name: str
    summed: bool = False


def average_sums(sums: np.ndarray) -> np.ndarray:
    """The first statistic over the second, from sums (..., 2); 0 where there is nothing."""
    return divide_safely(sums[..., 0], sums[..., 1])


def divide_safely(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Element-wise, 0 where `below` is 0."""
    zeros = np.zeros(np.broadcast(above, below).shape)
    return np.asarray(np.divide(above, below, out=zeros, where=np.asarray(below) != 0))


def pair_with_ones(values: Iterable[float]) -> np.ndarray:
    """Statistics (rows, 2) of one value a row: the value, and that it is one row; `average_sums` gives their mean."""
    column = np.array([float(value) for value in values])
    return np.stack([column, np.ones_like(column)], axis=1)


def count_classes(tasks: list[str], classes: list[str]) -> np.ndarray:
    """The class of each row as a one among zeros, shape (rows, tasks, classes + 1), a row of columns for each task.

    The last column is that of all classes beyond the MAX_LABELS commonest of a task.
    """
    often = Counter(zip(tasks, classes))
    places: dict[str, dict[str, int]] = {task: {} for task in sorted(set(tasks))}
    for (task, name), _ in sorted(often.items(), key=lambda entry: (-entry[1], entry[0])):
        places[task].setdefault(name, len(places[task]))
    width = min(MAX_LABELS, max(map(len, places.values()), default=0))
    counts, lines = np.zeros((len(tasks), len(places), width + 1)), {task: line for line, task in enumerate(places)}
    for row, (task, name) in enumerate(zip(tasks, classes)):
        counts[row, lines[task], min(places[task][name], width)] = 1
    return counts


def score_commonest(sums: np.ndarray) -> np.ndarray:
    """The share of the rows that have the commonest class of their task, from sums (..., tasks, classes + 1)."""
    return divide_safely(sums[..., :-1].max(axis=-1, initial=0).sum(axis=-1), sums.sum(axis=(-2, -1)))


class Floor(NamedTuple):
    """A metric that says what a score is worth: what it would be without a model. `words` names how, as a noun."""

    metric: str
    words: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of evaluated rows.

    name: in metrics/*.json, behind the split and before the model: `test_loss_tuned`.
    meaning: one plain sentence for the report.
    version: rises whenever the metric's figures can change. source: where the method comes from, or the file that
        defines it. signature: how a library that counts differently by its settings does it here.
    has: whether a row can be measured; the metric is absent where no row can.
    statistics: of rows that `has` it, shape (rows, k) or (rows, j, k), or None where there is nothing to say.
    score: from sums of these, (..., k) or (..., j, k), to scores (...).
    direction: 1 if more is better, -1 if less is, 0 if neither, so that nothing is claimed. binary: a row is right or
        wrong. follows: the metric that it is another form of, whose verdict it shares.
    digits, unit: as people see it. in_table: a row of the result table. headline: a row of README.md.
    shrinks_with_length: it falls when answers become shorter, whatever they say. column: its place in
        metrics/scores.csv. floors: what it is beside; one that is not above them says so in the claim.
    hangs_on: what of a row, beside question and reference, must be the same for two figures to be of the same thing.
    """

    name: str
    meaning: str
    version: str
    source: str
    has: Callable[[ScoredRow], bool]
    statistics: Callable[[list[ScoredRow]], np.ndarray | None]
    score: Callable[[np.ndarray], np.ndarray] = average_sums
    direction: int = 1
    binary: bool = False
    follows: str = ""
    digits: int = 3
    unit: str = ""
    in_table: bool = False
    headline: bool = False
    shrinks_with_length: bool = False
    column: Column | None = None
    floors: tuple[Floor, ...] = ()
    hangs_on: tuple[str, ...] = ()
    signature: Callable[[], str] | None = None

    def measure(self, rows: list[ScoredRow]) -> float | None:
        """The score of rows that all have the metric; None where there is nothing to say."""
        statistics = self.statistics(rows) if rows else None
        return None if statistics is None else float(self.score(statistics.sum(axis=0)))

    def describe(self) -> dict[str, str]:
        """The definition as metrics/versions.json has it."""
        fixed = {"version": self.version, "source": self.source}
        return fixed | ({"signature": self.signature()} if self.signature else {})
