"""Our scores of a split beside those of lm-evaluation-harness."""

import math
from collections import Counter
from typing import NamedTuple

from tunelock.metrics.measures import choices
from tunelock.metrics.statistics import mean

CHOICE, PERPLEXITY = TASKS = ("tunelock_choice", "tunelock_perplexity")  # the task files in the folder `harness`


class Score(NamedTuple):
    """A number over `rows` rows, as tunelock has it and as the harness has it."""

    name: str
    rows: int
    ours: float
    theirs: float


def compare(found: dict, rows: list[dict]) -> tuple[list[Score], dict[str, float]]:
    """The scores, and the largest difference of a log-likelihood (nats) of an option and of a reference.

    Args:
        found: what `tunelock.harness.lm_eval_runner.score` returns.
        rows: ours (`stages.evaluate`); those that the harness had are compared.
    """
    ours, scores, gaps = {row["id"]: row for row in rows}, [], {}
    for task, samples in found["samples"].items():
        had = [ours[sample["doc"]["id"]] for sample in samples]
        values = [[value for value, _is_greedy in sample["filtered_resps"]] for sample in samples]
        result = found["results"][task]
        if task == CHOICE:
            by_characters = choice_accuracy(had, by_characters=True)
            scores.append(Score("choice accuracy (acc)", len(had), choice_accuracy(had), result["acc,none"]))
            scores.append(Score("the same by characters (acc_norm)", len(had), by_characters, result["acc_norm,none"]))
            gaps["an option"] = largest_gap([row["choice_losses"] for row in had], values)
        else:
            scores.append(Score("perplexity of the references", len(had), perplexity(had), result["perplexity,none"]))
            gaps["a reference"] = largest_gap([[row["loss"]] for row in had], values)
    return scores, gaps


def largest_gap(losses: list[list[float]], log_likelihoods: list[list[float]]) -> float:
    """The largest difference between our losses and the harness's log-likelihoods, which have the other sign."""
    return max(abs(a + b) for ours, theirs in zip(losses, log_likelihoods) for a, b in zip(ours, theirs, strict=True))


def choice_accuracy(rows: list[dict], by_characters: bool = False) -> float:
    """Share of rows whose likeliest option, the first of equal ones, is the reference.

    `by_characters` divides the log-likelihood of an option by its length in characters, as the harness's acc_norm does.
    """
    return float(mean(choices(rows, by_characters).sum(axis=0)))


def perplexity(rows: list[dict]) -> float:
    """Of a token of the references, end tokens included."""
    return math.exp(sum(row["loss"] for row in rows) / sum(row["tokens"] for row in rows))


def table(title: str, scores: list[Score], gaps: dict[str, float], left_out: Counter) -> str:
    """What `compare` found and which rows the harness did not get, in Markdown."""
    lines = [f"| {title} | rows | tunelock | lm-eval |", "|---|---|---|---|"]
    lines += [f"| {score.name} | {score.rows} | {score.ours:.4f} | {score.theirs:.4f} |" for score in scores]
    lines += ["", "Largest difference (nats): " + ", ".join(f"{gap:.2g} in {kind}" for kind, gap in gaps.items()) + "."]
    if left_out:
        lines += ["", f"Rows that a task of the harness cannot hold: {counted(left_out)}."]
    return "\n".join(lines)


def counted(left_out: Counter) -> str:
    """Such as `3 (several turns)`."""
    return ", ".join(f"{number} ({reason})" for reason, number in left_out.most_common()) or "none"
