"""Base and tuned on the same rows: each measure of a split or a task, and of the rows one by one.

The statistics of all rows are made once (`compared`); what they add up to is then a matter of sums.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tunelock.claims.uncertainty import alone
from tunelock.metrics.measures import Measure
from tunelock.run.errors import Stop

MODELS = ("base", "tuned")


class Compared(NamedTuple):
    """One measure of both models: the rows' statistics (rows, 2, k), the places of these rows, and the measure."""

    statistics: np.ndarray
    places: np.ndarray
    measure: Measure

    def part(self, chosen: np.ndarray) -> "Compared":
        """The same of some rows; `chosen` is a mask over all rows."""
        kept = chosen[self.places]
        return Compared(self.statistics[kept], self.places[kept], self.measure)

    def scores(self) -> tuple[float, float]:
        """The scores of base and tuned."""
        base, tuned = self.measure.of(self.statistics.sum(axis=0))
        return float(base), float(tuned)


def compared(base: list[dict], tuned: list[dict], measures: dict[str, Measure]) -> dict[str, Compared]:
    """The statistics of each measure that any row has, by its name."""
    if not base:
        raise Stop("models/evaluation/base.jsonl has no rows to measure; check data/split.")
    if [row["id"] for row in base] != [row["id"] for row in tuned]:
        raise Stop("base and tuned answered different rows; run `dvc repro` to score both on the same.")
    found = {}
    for name, measure in measures.items():
        places = [i for i, (a, b) in enumerate(zip(base, tuned)) if measure.has(a) and measure.has(b)]
        both = [measure.statistics([rows[i] for i in places]) for rows in (base, tuned)] if places else [None]
        if both[0] is not None:
            found[name] = Compared(np.stack(both, axis=1).astype(float), np.array(places), measure)
    return found


def mask(rows: list[dict], **wanted: str) -> np.ndarray:
    """Which rows have these values, such as split="test"."""
    return np.array([all(row[key] == value for key, value in wanted.items()) for row in rows], dtype=bool)


def figures(measured: dict[str, Compared], chosen: np.ndarray) -> dict[str, tuple[float, float]]:
    """Base's and tuned's figure of each measure on the chosen rows; perplexity is e to the loss."""
    parts = {name: one.part(chosen) for name, one in measured.items()}
    found = {name: part.scores() for name, part in parts.items() if len(part.places)}
    return found | {"perplexity": tuple(np.exp(found["loss"]).tolist())}


def flat(measured: dict[str, Compared], rows: list[dict]) -> dict[str, float]:
    """metrics/evaluate.json: `test_perplexity_base` and so on."""
    found = {}
    for split in values(rows, "split"):
        scores = figures(measured, mask(rows, split=split))
        found |= {f"{split}_{key}_{m}": score for key, both in scores.items() for m, score in zip(MODELS, both)}
        base, tuned = scores["perplexity"]
        found[f"{split}_perplexity_improvement"] = 1 - tuned / base
    return found


def values(rows: Iterable[dict], key: str) -> list[str]:
    """The values of `key`, sorted."""
    return sorted({row[key] for row in rows})


def tasks(measured: dict[str, Compared], rows: list[dict], level: float, samples: int) -> list[dict]:
    """Rows for the plots by split, task and model: all figures, and low and high, the interval of the perplexity."""
    found, groups = [], np.array([row["group"] for row in rows])
    for split in values(rows, "split"):
        for task in values((row for row in rows if row["split"] == split), "task"):
            chosen = mask(rows, split=split, task=task)
            scores, loss = figures(measured, chosen), measured["loss"].part(chosen)
            for place, model in enumerate(MODELS):
                low, high = alone(loss.statistics[:, place], loss.measure.of, groups[loss.places], level, samples)
                known = {} if low is None else {"low": float(np.exp(low)), "high": float(np.exp(high))}
                head = {"name": f"{task} {model}", "split": split, "task": task, "model": model}
                found.append(head | {key: both[place] for key, both in scores.items()} | known)
    return found


def reliability(measured: dict[str, Compared], rows: list[dict], split: str = "test") -> list[dict]:
    """Rows for the plot of calibration: in each bin of confidence that has tokens, how often the model was right."""
    if "calibration_error" not in measured:
        return []
    sums = measured["calibration_error"].part(mask(rows, split=split)).statistics.sum(axis=0).reshape(2, -1, 3)
    return [
        {"model": model, "confidence": total / tokens, "accuracy": right / tokens, "tokens": int(tokens)}
        for model, bins in zip(MODELS, sums.tolist())
        for tokens, right, total in bins
        if tokens
    ]


def per_row(one: Compared | None, count: int, of: Callable[[np.ndarray], np.ndarray] | None = None) -> list[list]:
    """For each of `count` rows [base, tuned] of a measure; None where a row has none. `of` replaces its score."""
    found: list[list] = [[None, None] for _ in range(count)]
    if one is not None:
        for place, both in zip(one.places.tolist(), (of or one.measure.of)(one.statistics).tolist()):
            found[place] = both
    return found
