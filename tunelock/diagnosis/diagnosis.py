"""Verdicts on a run, each with what was seen and the exact commands to try.

The rules are in `curve_rules` and `answer_rules` beside this, the commands in `remedies`. A healthy run gets no
verdict. Which fault gets which verdict how often, and which faults cannot be seen: `benchmarks/diagnosis.py`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

from tunelock.diagnosis.answer_rules import ANSWER_RULES, MIN_ANSWERS, RunAnswers
from tunelock.diagnosis.curve_rules import CURVE_RULES
from tunelock.diagnosis.divergence_rules import Symptom
from tunelock.diagnosis.levels import CurveRow, Curves, has_settled, split_columns
from tunelock.diagnosis.remedies import list_remedies
from tunelock.records.scored_row import ScoredRow

# The params that the remedies need.
DIAGNOSIS_PARAMS = (
    "learning_rate", "num_train_epochs", "gradient_accumulation_steps", "max_grad_norm", "warmup_steps", "method",
    "lora_r", "lora_dropout", "early_stopping_patience", "near_duplicate_threshold", "leak_threshold",
    "max_new_tokens", "max_length", "chat_template", "sources",
)  # fmt: skip


class _RunVerdict(NamedTuple):
    """A fault by its name, the step where it shows (None: in the answers), the numbers, and commands to try."""

    name: str
    step: int | None
    evidence: str
    remedy: list[str]


class _VerdictEntry(TypedDict):
    """A verdict in metrics/diagnosis.json, where it stands under its name."""

    step: int | None
    evidence: str
    remedy: list[str]


def diagnose_run(
    log: list[CurveRow],
    settings: Mapping[str, Any],
    tuned: list[ScoredRow] | None = None,
    base: list[ScoredRow] | None = None,
) -> list[_RunVerdict]:
    """Judge a run, finished or not, by its curve, and by its answers where there are some.

    Args:
        log: rows of models/train/log.json: step, epoch and loss, grad_norm and learning_rate, or eval_loss.
        settings: the DIAGNOSIS_PARAMS.
        tuned: rows of models/evaluation/tuned.jsonl (see `stages.evaluate`).
        base: those of models/evaluation/base.jsonl; with them the verdict `no_gain` can be given.

    Returns:
        The verdicts, the gravest first. None are given before the run has left its warm-up.
    """
    curves = split_columns(log)
    epochs = {row["step"]: row.get("epoch") for row in log}
    verdicts = []
    for name, symptom in _judge_curves(curves, settings["learning_rate"]).items():
        remedy = list_remedies(name, settings, epochs.get(symptom.step))
        verdicts.append(_RunVerdict(name, symptom.step, symptom.evidence, remedy))
    for name, evidence in _judge_answers(curves, tuned or [], base or []).items():
        verdicts.append(_RunVerdict(name, None, evidence, list_remedies(name, settings)))
    return verdicts


def _judge_curves(curves: Curves, learning_rate: float) -> dict[str, Symptom]:
    """What the rules see in the curve, by the name of the verdict; nothing before warm-up is over."""
    if not has_settled(curves, learning_rate):
        return {}
    found = {name: find(curves) for name, find in CURVE_RULES.items()}
    return {name: symptom for name, symptom in found.items() if symptom}


def _judge_answers(curves: Curves, tuned: list[ScoredRow], base: list[ScoredRow]) -> dict[str, str]:
    """What the rules see in the answers, by the name of the verdict; nothing where there are fewer than MIN_ANSWERS."""
    rows = [row for row in tuned if "answer" in row]
    if len(rows) < MIN_ANSWERS:
        return {}
    answers = RunAnswers(rows, base, min((validation.loss for validation in curves.validations), default=None))
    found = {name: find(answers) for name, find in ANSWER_RULES.items()}
    return {name: evidence for name, evidence in found.items() if evidence}


def count_verdicts(verdicts: list[_RunVerdict]) -> dict[str, int | _VerdictEntry]:
    """metrics/diagnosis.json: how many verdicts, and each by its name."""
    found: dict[str, int | _VerdictEntry] = {"verdicts": len(verdicts)}
    for verdict in verdicts:
        found[verdict.name] = {"step": verdict.step, "evidence": verdict.evidence, "remedy": verdict.remedy}
    return found


def describe_verdict(verdict: _RunVerdict) -> str:
    """A verdict for the screen, a line for the evidence and one for each command."""
    commands = [f"    {command}" for command in verdict.remedy]
    return "\n".join([f"{verdict.name.replace('_', ' ')}: {verdict.evidence}", *commands])
