"""Verdicts on a run, each with what was seen and the rows behind it, and one remedy for all of them.

The rules are in `curve_rules` and `answer_rules` beside this, the remedy in `remedies`. A healthy run gets no
verdict. Which fault gets which verdict how often, and which faults cannot be seen: `benchmarks/diagnosis.py`.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from tunelock.diagnosis.answer_rules import ANSWER_RULES
from tunelock.diagnosis.curve_rules import CURVE_RULES
from tunelock.diagnosis.divergence_rules import Symptom
from tunelock.diagnosis.levels import CurveRow, Curves, has_settled, split_columns
from tunelock.diagnosis.loss_rules import MIN_ANSWERS, Finding, RunAnswers, find_hardest
from tunelock.diagnosis.remedies import RunVerdict
from tunelock.records.scored_row import ScoredRow

# The params that the remedies need.
DIAGNOSIS_PARAMS = (
    "learning_rate", "num_train_epochs", "gradient_accumulation_steps", "max_grad_norm", "warmup_steps", "method",
    "lora_r", "lora_dropout", "early_stopping_patience", "near_duplicate_threshold", "leak_threshold",
    "max_new_tokens", "max_length", "chat_template", "sources",
)  # fmt: skip


STAYS_HIGH = ("flat", "no_gain", "mismatch")  # verdicts on a loss that is too high: the rows where it is highest
AT_STEP = ("spiking", "diverging")  # verdicts on a step: the rows of its batch


class _VerdictEntry(TypedDict):
    """A verdict in metrics/diagnosis.json, where it stands under its name."""

    step: int | None
    evidence: str
    rows: list[str]


def diagnose_run(
    log: list[CurveRow],
    settings: Mapping[str, Any],
    tuned: list[ScoredRow] | None = None,
    base: list[ScoredRow] | None = None,
    batches: Mapping[int, list[str]] | None = None,
) -> list[RunVerdict]:
    """Judge a run, finished or not, by its curve, and by its answers where there are some.

    Args:
        log: rows of models/train/log.json: step, epoch and loss, grad_norm and learning_rate, or eval_loss.
        settings: the DIAGNOSIS_PARAMS.
        tuned: rows of models/evaluation/tuned.jsonl (see `stages.evaluate`).
        base: those of models/evaluation/base.jsonl; what the base does too is no fault of the run.
        batches: the ids of the rows of steps whose loss stands out (models/train/high_steps.json).

    Returns:
        The verdicts, on the curve first. None are given before the run has left its warm-up.
    """
    curves = split_columns(log)
    epochs = {row["step"]: row.get("epoch") for row in log}
    hardest, verdicts = find_hardest(tuned or []), []
    for name, symptom in _judge_curves(curves, settings["learning_rate"]).items():
        rows = (batches or {}).get(symptom.step, []) if name in AT_STEP else hardest if name in STAYS_HIGH else []
        verdicts.append(RunVerdict(name, symptom.step, symptom.evidence, tuple(rows), epochs.get(symptom.step)))
    for name, finding in _judge_answers(curves, tuned or [], base or []).items():
        rows = hardest if name in STAYS_HIGH else finding.rows
        verdicts.append(RunVerdict(name, None, finding.evidence, tuple(rows)))
    return verdicts


def _judge_curves(curves: Curves, learning_rate: float) -> dict[str, Symptom]:
    """What the rules see in the curve, by the name of the verdict; nothing before warm-up is over."""
    if not has_settled(curves, learning_rate):
        return {}
    found = {name: find(curves) for name, find in CURVE_RULES.items()}
    return {name: symptom for name, symptom in found.items() if symptom}


def _judge_answers(curves: Curves, tuned: list[ScoredRow], base: list[ScoredRow]) -> dict[str, Finding]:
    """What the rules see in the answers, by the name of the verdict; nothing where there are fewer than MIN_ANSWERS."""
    rows = [row for row in tuned if "answer" in row]
    if len(rows) < MIN_ANSWERS:
        return {}
    answers = RunAnswers(rows, base, min((validation.loss for validation in curves.validations), default=None))
    found = {name: find(answers) for name, find in ANSWER_RULES.items()}
    return {name: finding for name, finding in found.items() if finding}


def count_verdicts(verdicts: list[RunVerdict], remedy: list[str]) -> dict[str, int | list[str] | _VerdictEntry]:
    """metrics/diagnosis.json: how many verdicts, each by its name, and the one remedy for all of them."""
    found: dict[str, int | list[str] | _VerdictEntry] = {"verdicts": len(verdicts)}
    for verdict in verdicts:
        found[verdict.name] = {"step": verdict.step, "evidence": verdict.evidence, "rows": [*verdict.rows]}
    return found | ({"remedy": remedy} if remedy else {})


def describe_verdicts(verdicts: list[RunVerdict], remedy: list[str]) -> str:
    """The verdicts for the screen, a line each, and below them what to try, a line a command."""
    lines = [f"{verdict.name.replace('_', ' ')}: {verdict.evidence}" for verdict in verdicts]
    return "\n".join([*lines, *(f"    {command}" for command in remedy)])
