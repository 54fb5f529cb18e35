"""Metrics of multiple choice: is the right option the likeliest answer?"""

import numpy as np

from tunelock.metrics.metric import Floor, Metric, count_classes, pair_with_ones, score_commonest
from tunelock.records.scored_row import ScoredRow, find_margin

HERE = "tunelock/metrics/multiple_choice.py"
TIE = 0.01  # nats; a likelihood 1 % higher or lower
HARNESS = "https://doi.org/10.5281/zenodo.5371628"  # lm-evaluation-harness: acc and acc_norm


def _has_choices(row: ScoredRow) -> bool:
    """Whether the options of the row's question were scored."""
    return "choices" in row


def _pick_likeliest(losses: list[float]) -> int:
    """The place of the option with the lowest loss, the first of equals."""
    return losses.index(min(losses))


def _count_right_choices(rows: list[ScoredRow]) -> np.ndarray:
    """Whether the right option has the lowest loss, and one, shape (rows, 2)."""
    return pair_with_ones(_pick_likeliest(row["choice_losses"]) == row["right"] for row in rows)


def _count_right_by_characters(rows: list[ScoredRow]) -> np.ndarray:
    """Whether the right option has the lowest loss a character, and one, shape (rows, 2)."""
    found = []
    for row in rows:
        losses = [loss / max(1, len(text)) for loss, text in zip(row["choice_losses"], row["choices"])]
        found.append(_pick_likeliest(losses) == row["right"])
    return pair_with_ones(found)


def _count_right_options(rows: list[ScoredRow]) -> np.ndarray:
    """The text of each right option, by task, as `count_classes` gives it."""
    return count_classes([row["task"] for row in rows], [row["choices"][row["right"]] for row in rows])


def _count_chances_of_options(rows: list[ScoredRow]) -> np.ndarray:
    """The chance of guessing the right option, and one, shape (rows, 2)."""
    return pair_with_ones(1 / len(row["choices"]) for row in rows)


def _count_ties(rows: list[ScoredRow]) -> np.ndarray:
    """Whether the two likeliest options are as good as equally likely, and one, shape (rows, 2)."""
    return pair_with_ones(find_margin(row["choice_losses"]) <= TIE for row in rows)


FLOORS = (Floor("choice_majority", "the commonest right option alone"), Floor("choice_chance", "guessing an option"))
METRICS = (
    Metric(
        "choice_accuracy",
        "Share of multiple-choice rows whose right option is the likeliest.",
        "2.0.0",
        HARNESS,
        _has_choices,
        _count_right_choices,
        binary=True,
        in_table=True,
        floors=FLOORS,
        hangs_on=("choices",),
    ),
    Metric(
        "choice_majority",
        "The share of multiple-choice rows of a task whose right option is the commonest one.",
        "1.0.0",
        HERE,
        _has_choices,
        _count_right_options,
        score_commonest,
        direction=0,
        in_table=True,
        hangs_on=("choices",),
    ),
    Metric(
        "choice_chance",
        "The share of multiple-choice rows that guessing gets right.",
        "1.0.0",
        HERE,
        _has_choices,
        _count_chances_of_options,
        direction=0,
        in_table=True,
        hangs_on=("choices",),
    ),
    Metric(
        "choice_ties",
        "Share of multiple-choice rows whose two likeliest options are less than 0.01 nats apart.",
        "1.0.0",
        HERE,
        _has_choices,
        _count_ties,
        direction=0,
        hangs_on=("choices",),
    ),
    Metric(
        "choice_accuracy_norm",
        "Share of multiple-choice rows whose right option is the likeliest a character, so that length does not count.",
        "2.0.0",
        HARNESS,
        _has_choices,
        _count_right_by_characters,
        binary=True,
        hangs_on=("choices",),
    ),
)
