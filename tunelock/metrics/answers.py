"""Metrics of the answers alone: do they end, how long are they, and do they repeat themselves?"""

import numpy as np

from tunelock.metrics.metric import Metric, pair_with_ones
from tunelock.metrics.texts import is_answered
from tunelock.records.ngrams import list_ngrams
from tunelock.records.scored_row import ScoredRow

HERE = "tunelock/metrics/answers.py"
RUN = 4  # words


def _count_stops(rows: list[ScoredRow]) -> np.ndarray:
    """Whether each answer ended by itself, and one, shape (rows, 2)."""
    return pair_with_ones(row["stopped"] for row in rows)


def _count_lengths(rows: list[ScoredRow]) -> np.ndarray:
    """Tokens of each answer, and one, shape (rows, 2)."""
    return pair_with_ones(row["new_tokens"] for row in rows)


def _count_repetition(rows: list[ScoredRow]) -> np.ndarray:
    """The share of an answer's runs of four words that stood in it before (0 below four words), and one; (rows, 2)."""
    return pair_with_ones(_repeated_share(row["answer"]) for row in rows)


def _repeated_share(text: str) -> float:
    runs = list_ngrams(text, RUN)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


METRICS = (
    Metric(
        "stop_rate",
        "Share of answers that ended by themselves.",
        "1.0.0",
        HERE,
        is_answered,
        _count_stops,
        binary=True,
        in_table=True,
        headline=True,
    ),
    Metric(
        "mean_length",
        "Mean tokens of an answer.",
        "1.0.0",
        HERE,
        is_answered,
        _count_lengths,
        direction=0,
        digits=1,
        unit="tokens",
        hangs_on=("tokens",),
    ),
    Metric(
        "repetition",
        "Share of an answer's runs of four words that stood in it before (1 - distinct-4); lower is better.",
        "1.0.0",
        "https://arxiv.org/abs/1510.03055",
        is_answered,
        _count_repetition,
        direction=-1,
    ),
)
