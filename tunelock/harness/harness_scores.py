"""Our scores of a split beside those of lm-evaluation-harness."""

from collections import Counter
from typing import NamedTuple

from tunelock.metrics.registry import METRICS
from tunelock.records.scored_row import ScoredRow

CHOICE, PERPLEXITY = TASKS = ("tunelock_choice", "tunelock_perplexity")  # the task files in the folder `tasks`
NAMES = {  # our metric: the title of its row, and the harness's name for it
    CHOICE: {
        "choice_accuracy": ("choice accuracy (acc)", "acc,none"),
        "choice_accuracy_norm": ("the same by characters (acc_norm)", "acc_norm,none"),
    },
    PERPLEXITY: {"perplexity": ("perplexity of the references", "perplexity,none")},
}


class _TwoScores(NamedTuple):
    """A number over `rows` rows, as tunelock has it and as the harness has it."""

    title: str
    rows: int
    ours: float
    theirs: float


class _Agreement(NamedTuple):
    """The scores, and the largest difference of a log-likelihood (nats) by what it is of: an option, a reference."""

    scores: list[_TwoScores]
    gaps: dict[str, float]


def compare_with_harness(found: dict, rows: list[ScoredRow]) -> _Agreement:
    """Our scores beside the harness's.

    Args:
        found: what `tunelock.harness.lm_eval_runner.score` returns.
        rows: ours (`stages.evaluate`); those that the harness had are compared.
    """
    ours, scores, gaps = {row["id"]: row for row in rows}, [], {}
    for task, samples in found["samples"].items():
        had = [ours[sample["doc"]["id"]] for sample in samples]
        for name, (title, theirs) in NAMES[task].items():
            scores.append(_TwoScores(title, len(had), METRICS[name].measure(had), found["results"][task][theirs]))
        if task == CHOICE:
            gaps["an option"] = _find_largest_gap([row["choice_losses"] for row in had], samples)
        else:
            gaps["a reference"] = _find_largest_gap([[row["loss"]] for row in had], samples)
    return _Agreement(scores, gaps)


def _find_largest_gap(losses: list[list[float]], samples: list[dict]) -> float:
    """The largest difference between our losses and the harness's log-likelihoods, which have the other sign."""
    gaps = []
    for ours, sample in zip(losses, samples):
        for loss, (log_likelihood, _is_greedy) in zip(ours, sample["filtered_resps"], strict=True):
            gaps.append(abs(loss + log_likelihood))
    return max(gaps)


def tabulate_agreement(title: str, found: _Agreement, left_out: Counter) -> str:
    """What `compare_with_harness` found and which rows the harness did not get, in Markdown."""
    lines = [f"| {title} | rows | tunelock | lm-eval |", "|---|---|---|---|"]
    lines += [f"| {score.title} | {score.rows} | {score.ours:.4f} | {score.theirs:.4f} |" for score in found.scores]
    gaps = ", ".join(f"{gap:.2g} in {kind}" for kind, gap in found.gaps.items())
    lines += ["", f"Largest difference (nats): {gaps}."]
    if left_out:
        lines += ["", f"Rows that a task of the harness cannot hold: {name_left_out(left_out)}."]
    return "\n".join(lines)


def name_left_out(left_out: Counter) -> str:
    """Such as `3 (several turns)`."""
    return ", ".join(f"{number} ({reason})" for reason, number in left_out.most_common()) or "none"
