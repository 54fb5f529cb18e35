"""Metrics of multiple choice: is the right option the likeliest answer?"""

import numpy as np

from tunelock.metrics.metric import Metric, pair_with_ones
from tunelock.records.scored_row import ScoredRow

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


METRICS = (
    Metric(
        "choice_accuracy",
        "Share of multiple-choice rows whose right option is the likeliest.",
        "1.0.0",
        HARNESS,
        _has_choices,
        _count_right_choices,
        binary=True,
        in_table=True,
    ),
    Metric(
        "choice_accuracy_norm",
        "Share of multiple-choice rows whose right option is the likeliest a character, so that length does not count.",
        "1.0.0",
        HARNESS,
        _has_choices,
        _count_right_by_characters,
        binary=True,
    ),
)
