"""Metrics of likelihood: what a model thinks of the reference, and how sure and how right it is at each token."""

import numpy as np

from tunelock.metrics.metric import Column, Metric, average_sums, divide_safely, pair_with_ones
from tunelock.records.scored_row import ScoredRow

HERE = "tunelock/metrics/likelihood.py"
TOKENS = ("tokens",)  # nats a token of two tokenizers are not the same unit


def _has_loss(_row: ScoredRow) -> bool:
    """Every evaluated row has a loss."""
    return True


def _count_losses(rows: list[ScoredRow]) -> np.ndarray:
    """Nats and tokens of each row, shape (rows, 2)."""
    return np.array([[row["loss"], row["tokens"]] for row in rows], dtype=float).reshape(-1, 2)


def _score_perplexity(sums: np.ndarray) -> np.ndarray:
    """e to the loss."""
    return np.asarray(np.exp(average_sums(sums)))


def _has_contrast(row: ScoredRow) -> bool:
    """Whether a wrong answer was scored behind the row's question."""
    return "other_loss" in row


def _find_contrasts(rows: list[ScoredRow]) -> list[float]:
    """By how many nats a token an answer is likelier behind its own question than behind this row's.

    The answer is that of the row `other_id`: the same tokens twice, so that its style and length cancel out. A row
    without `other_id` has its own answer in their place, which on average is as good and scatters twice as much.
    """
    by_id = {row["id"]: row for row in rows}
    found = []
    for row in rows:
        own = by_id.get(row["other_id"], row) if "other_id" in row else row
        found.append(row["other_loss"] / row["other_tokens"] - own["loss"] / own["tokens"])
    return found


def _count_contrasts(rows: list[ScoredRow]) -> np.ndarray:
    """The contrast of each row and one, shape (rows, 2)."""
    return pair_with_ones(_find_contrasts(rows))


def _count_matches(rows: list[ScoredRow]) -> np.ndarray:
    """Whether the contrast of each row is above 0, and one, shape (rows, 2)."""
    return pair_with_ones(contrast > 0 for contrast in _find_contrasts(rows))


def _has_confidence(row: ScoredRow) -> bool:
    """Whether the row says how sure the model was of its tokens."""
    return "confidence" in row


def _count_confidence(rows: list[ScoredRow]) -> np.ndarray:
    """Of each bin of confidence: tokens, how often the likeliest one was right, and the sum of its probabilities.

    Shape (rows, 3 x bins).
    """
    tables = np.array([row["confidence"] for row in rows], dtype=float)
    return tables.reshape(len(rows), -1)


def _score_calibration(sums: np.ndarray) -> np.ndarray:
    """How far confidence and accuracy are apart in the bins, by their tokens, 0 to 1 (Guo et al. 2017)."""
    tokens, right, confidence = (sums[..., place::3] for place in range(3))
    return divide_safely(np.abs(right - confidence).sum(axis=-1), tokens.sum(axis=-1))


METRICS = (
    Metric(
        "perplexity",
        "How surprised the model is by a right answer: e to the loss; lower is better.",
        "1.0.0",
        "https://doi.org/10.1121/1.2016299",
        _has_loss,
        _count_losses,
        _score_perplexity,
        direction=-1,
        follows="loss",
        digits=2,
        in_table=True,
        headline=True,
        hangs_on=TOKENS,
    ),
    Metric(
        "loss",
        "Nats a token of the reference answers; lower is better.",
        "1.0.0",
        "https://jmlr.org/papers/v3/bengio03a.html",
        _has_loss,
        _count_losses,
        direction=-1,
        unit="nats a token",
        in_table=True,
        column=Column("loss", summed=True),
        hangs_on=TOKENS,
    ),
    Metric(
        "contrast",
        "Nats a token by which a question's own answer is likelier than another question's.",
        "1.0.0",
        HERE,
        _has_contrast,
        _count_contrasts,
        unit="nats a token",
        column=Column("contrast"),
        hangs_on=TOKENS,
    ),
    Metric(
        "match_accuracy",
        "How often a question makes its own answer likelier than another question's.",
        "1.0.0",
        HERE,
        _has_contrast,
        _count_matches,
        binary=True,
        in_table=True,
        headline=True,
    ),
    Metric(
        "calibration_error",
        "Mean gap between how sure the model is of a token and how often it is right; lower is better.",
        "1.0.0",
        "https://arxiv.org/abs/1706.04599",
        _has_confidence,
        _count_confidence,
        _score_calibration,
        direction=-1,
        hangs_on=TOKENS,
    ),
)
