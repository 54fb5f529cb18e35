"""Base and tuned on the same rows: each metric of a split or a task, and of the rows one by one.

The statistics of all rows are made once (`compare_models`); what they add up to is then a matter of sums.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from tunelock.claims.uncertainty import bound_score
from tunelock.metrics.metric import Metric
from tunelock.records.scored_row import ScoredRow
from tunelock.run.errors import Stop

MODELS = ("base", "tuned")


class Compared(NamedTuple):
    """One metric of both models: the rows' statistics (rows, 2, k), the places of these rows, and the metric."""

    statistics: np.ndarray
    places: np.ndarray
    metric: Metric

    def select(self, chosen: np.ndarray) -> "Compared":
        """The same of some rows; `chosen` is a mask over all rows."""
        kept = chosen[self.places]
        return Compared(self.statistics[kept], self.places[kept], self.metric)

    def score_both(self) -> tuple[float, float]:
        """The scores of base and tuned."""
        base, tuned = self.metric.score(self.statistics.sum(axis=0))
        return float(base), float(tuned)


def compare_models(base: list[ScoredRow], tuned: list[ScoredRow], metrics: Iterable[Metric]) -> dict[str, Compared]:
    """The statistics of each metric that any row has, by its name.

    Raises:
        Stop: there are no rows, or the two models were given different ones.
    """
    if not base:
        raise Stop("models/evaluation/base.jsonl has no rows to measure; check data/split.")
    if [row["id"] for row in base] != [row["id"] for row in tuned]:
        raise Stop("base and tuned answered different rows; run `dvc repro` to score both on the same.")
    found = {}
    for metric in metrics:
        places = [place for place, both in enumerate(zip(base, tuned)) if all(map(metric.has, both))]
        if not places:
            continue
        of_base = metric.statistics([base[place] for place in places])
        of_tuned = metric.statistics([tuned[place] for place in places])
        if of_base is not None:
            both = np.stack([of_base, of_tuned], axis=1).astype(float)
            found[metric.name] = Compared(both, np.array(places), metric)
    return found


def mask_rows(rows: list[ScoredRow], **wanted: str) -> np.ndarray:
    """Which rows have these values, such as split="test"; a mask (rows,)."""
    return np.array([wanted.items() <= row.items() for row in rows], dtype=bool)


def sort_values(rows: Iterable[ScoredRow], key: str) -> list[str]:
    """The values of `key`, sorted, each once."""
    return sorted({row[key] for row in rows})


def score_models(measured: dict[str, Compared], chosen: np.ndarray) -> dict[str, tuple[float, float]]:
    """Base's and tuned's score of each metric on the chosen rows."""
    parts = {name: one.select(chosen) for name, one in measured.items()}
    return {name: part.score_both() for name, part in parts.items() if len(part.places)}


def flatten_scores(measured: dict[str, Compared], rows: list[ScoredRow]) -> dict[str, float]:
    """metrics/evaluate.json: `test_perplexity_base` and so on."""
    found = {}
    for split in sort_values(rows, "split"):
        scores = score_models(measured, mask_rows(rows, split=split))
        for name, (base, tuned) in scores.items():
            found |= {f"{split}_{name}_base": base, f"{split}_{name}_tuned": tuned}
        base, tuned = scores["perplexity"]
        found[f"{split}_perplexity_improvement"] = 1 - tuned / base
    return found


def score_tasks(measured: dict[str, Compared], rows: list[ScoredRow], level: float, samples: int) -> list[dict]:
    """Rows for the plots by split, task and model: all scores, and low and high, the interval of the perplexity."""
    found = []
    for split, task in sorted({(row["split"], row["task"]) for row in rows}):
        chosen = mask_rows(rows, split=split, task=task)
        scores, loss = score_models(measured, chosen), measured["loss"].select(chosen)
        groups = [rows[place]["group"] for place in loss.places]
        for place, model in enumerate(MODELS):
            bounds = bound_score(loss.statistics[:, place], loss.metric.score, groups, level, samples)
            known: dict[str, Any] = {}
            if bounds.low is not None and bounds.high is not None:
                known = {"low": float(np.exp(bounds.low)), "high": float(np.exp(bounds.high))}
            head: dict[str, Any] = {"name": f"{task} {model}", "split": split, "task": task, "model": model}
            found.append(head | {name: both[place] for name, both in scores.items()} | known)
    return found


def bin_reliability(measured: dict[str, Compared], rows: list[ScoredRow], split: str = "test") -> list[dict]:
    """Rows for the plot of calibration: in each bin of confidence that has tokens, how often the model was right."""
    if "calibration_error" not in measured:
        return []
    part, found = measured["calibration_error"].select(mask_rows(rows, split=split)), []
    for model, bins in zip(MODELS, part.statistics.sum(axis=0).reshape(2, -1, 3).tolist()):
        for tokens, right, total in bins:
            if tokens:
                place = {"confidence": total / tokens, "accuracy": right / tokens, "tokens": int(tokens)}
                found.append({"model": model} | place)
    return found


def list_row_scores(
    one: Compared | None, count: int, score: Callable[[np.ndarray], np.ndarray] | None = None
) -> list[list[float | None]]:
    """For each of `count` rows [base, tuned] of a metric; None where a row has none. `score` replaces the metric's."""
    found: list[list[float | None]] = [[None, None] for _ in range(count)]
    if one is not None:
        for place, both in zip(one.places.tolist(), (score or one.metric.score)(one.statistics).tolist()):
            found[place] = both
    return found
