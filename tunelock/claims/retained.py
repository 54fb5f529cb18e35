"""What the rows of general.jsonl say about forgetting, with intervals over groups of questions."""

import math

import numpy as np

from tunelock.claims.uncertainty import paired
from tunelock.metrics.digits import short

MODELS = ("base", "tuned")


def retained(rows: list[dict], level: float, samples: int) -> dict[str, float]:
    """The metrics of the rows, rounded to 6 significant digits. Too few groups for an interval have none."""
    losses = np.array([[row["loss_base"], row["loss_tuned"]] for row in rows])
    tokens = np.array([[row["tokens"]] * 2 for row in rows])
    found = paired(losses, tokens, [row["group"] for row in rows], level, samples)
    metrics = {
        "retention": math.exp(-found.difference),
        "general_perplexity_base": math.exp(found.base),
        "general_perplexity_tuned": math.exp(found.tuned),
        "general_kl": sum(row["kl"] for row in rows) / int(tokens[:, 0].sum()),
        "general_rows": len(rows),
    }
    if found.low is not None:
        metrics |= {"retention_low": math.exp(-found.high), "retention_high": math.exp(-found.low)}
    metrics |= contrasts(rows, level, samples)
    chosen = [row for row in rows if "choices" in row]
    for model in MODELS if chosen else ():
        right = sum(likeliest(row[f"choice_losses_{model}"]) == row["right"] for row in chosen)
        metrics[f"general_accuracy_{model}"] = right / len(chosen)
    return short(metrics)


def contrasts(rows: list[dict], level: float, samples: int) -> dict[str, float]:
    """The contrast of both models (see `stages.retention`) and its change, with an interval; {} if no row has one."""
    own = {row["id"]: row for row in rows}
    chosen = [row for row in rows if "other_id" in row]
    if not chosen:
        return {}
    gaps = np.array([
        [row[f"other_loss_{model}"] / row["other_tokens"] - own[row["other_id"]][f"loss_{model}"] / row["other_tokens"]
         for model in MODELS] for row in chosen
    ])  # fmt: skip
    found = paired(gaps, np.ones_like(gaps), [row["group"] for row in chosen], level, samples)
    metrics = {"general_contrast_base": found.base, "general_contrast_tuned": found.tuned}
    metrics["general_contrast_change"] = found.difference
    if found.low is not None:
        metrics |= {"general_contrast_change_low": found.low, "general_contrast_change_high": found.high}
    return metrics


def likeliest(losses: list[float]) -> int:
    """The option with the lowest loss, the first of equals."""
    return losses.index(min(losses))
