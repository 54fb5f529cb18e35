"""Verdicts on a run, each with what was seen and the exact commands to try.

The rules are in `curve_rules` and `answer_rules` beside this; here they meet the params. A healthy run gets no verdict.
Which fault gets which verdict how often, and which faults cannot be seen: `benchmarks/diagnosis.py`.
"""

import shlex
from collections.abc import Callable
from typing import NamedTuple

from tunelock.diagnosis.answer_rules import MIN_ANSWERS
from tunelock.diagnosis.answer_rules import RULES as ANSWER_RULES
from tunelock.diagnosis.curve_rules import RULES as CURVE_RULES
from tunelock.diagnosis.levels import columns, settled

# The params that the remedies need.
DIAGNOSIS_PARAMS = (
    "learning_rate", "num_train_epochs", "gradient_accumulation_steps", "max_grad_norm", "warmup_steps", "method",
    "lora_r", "lora_dropout", "early_stopping_patience", "near_duplicate_threshold", "leak_threshold",
    "max_new_tokens", "max_length", "chat_template", "sources",
)  # fmt: skip


class Verdict(NamedTuple):
    """A fault by its name, the step where it shows (None: in the answers), the numbers, and commands to try."""

    name: str
    step: int | None
    evidence: str
    remedy: list[str]


def diagnose(
    curve: list[dict], settings: dict, answers: list[dict] | None = None, base: list[dict] | None = None
) -> list[Verdict]:
    """Judge a run, finished or not, by its curve, and by its answers where there are some.

    Args:
        curve: rows of `tunelock.training.curves.curve`: step, epoch and loss, grad_norm and learning_rate, or
        eval_loss. settings: the DIAGNOSIS_PARAMS.
        answers: rows of models/evaluation/tuned.jsonl (see `stages.evaluate`).
        base: those of models/evaluation/base.jsonl; with them the verdict `no_gain` can be given.

    Returns:
        The verdicts, the gravest first. None are given before the run has left its warm-up.
    """
    curves = columns(curve)
    found = []
    if settled(curves, settings["learning_rate"]):
        found = [(name, *finding) for name, rule in CURVE_RULES.items() if (finding := rule(curves))]
    validation = min((loss for _, loss in curves.evals), default=None)
    answered = [row for row in answers or [] if "answer" in row]
    if len(answered) >= MIN_ANSWERS:
        reports = {name: rule(answered, base or [], validation) for name, rule in ANSWER_RULES.items()}
        found += [(name, None, evidence) for name, evidence in reports.items() if evidence]
    epochs = {row["step"]: row.get("epoch") for row in curve}
    return [Verdict(name, step, evidence, remedies(name, settings, epochs.get(step))) for name, step, evidence in found]


def as_metrics(verdicts: list[Verdict]) -> dict:
    """metrics/diagnosis.json: how many verdicts, and each by its name with step, evidence and remedy."""
    named = {v.name: {"step": v.step, "evidence": v.evidence, "remedy": v.remedy} for v in verdicts}
    return {"verdicts": len(verdicts), **named}


def as_text(verdict: Verdict) -> str:
    """A verdict for the screen, a line for the evidence and one for each command."""
    return "\n".join([f"{verdict.name.replace('_', ' ')}: {verdict.evidence}", *(f"    {c}" for c in verdict.remedy)])


def times(key: str, factor: float, low: float = 0.0, high: float = float("inf")) -> Callable[[dict], dict]:
    """A change of one param by a factor, within bounds."""
    return lambda s: {key: min(high, max(low, s[key] * factor))}


def lora_only(change: Callable[[dict], dict]) -> Callable[[dict], dict]:
    """A change that makes sense for LoRA alone."""
    return lambda s: change(s) if s["method"] in ("lora", "qlora", "int8") else {}


def longer_warmup(s: dict) -> dict:
    """At least a tenth of the steps; steps are doubled."""
    steps = s["warmup_steps"]
    return {"warmup_steps": min(0.3, max(0.1, 2 * steps)) if steps < 1 else 2 * steps}


def stricter_duplicates(s: dict) -> dict:
    """Rows that are less alike count as near-duplicates."""
    return {"near_duplicate_threshold": max(0.3, (s["near_duplicate_threshold"] or 0.9) - 0.1)}


SLOWER, MUCH_SLOWER = times("learning_rate", 1 / 3), times("learning_rate", 0.1)
BIGGER_BATCH, SMALLER_CLIP = times("gradient_accumulation_steps", 4), times("max_grad_norm", 0.3)
MORE_DROPOUT = lora_only(lambda s: {"lora_dropout": min(0.5, max(0.1, 2 * s["lora_dropout"]))})
HALF_THE_RANK = lora_only(lambda s: {"lora_r": max(1, s["lora_r"] // 2)})
FEWER_EPOCHS = times("num_train_epochs", 0.5)
STRICTER_SPLIT = times("leak_threshold", 0.8, low=0.3)
OWN_TEMPLATE = lambda s: {"chat_template": None}  # noqa: E731

# What to try, in this order. The verdict on overfitting also gets the epochs of its best step.
REMEDIES: dict[str, tuple[Callable[[dict], dict], ...]] = {
    "low_at_start": (OWN_TEMPLATE, STRICTER_SPLIT),
    "diverging": (MUCH_SLOWER, SMALLER_CLIP, longer_warmup),
    "spiking": (SLOWER, SMALLER_CLIP, longer_warmup, BIGGER_BATCH),
    "oscillating": (SLOWER, BIGGER_BATCH),
    "flat": (times("learning_rate", 10, high=0.5), lora_only(times("lora_r", 2)), times("num_train_epochs", 2)),
    "no_gain": (times("learning_rate", 10, high=0.5), times("num_train_epochs", 2), OWN_TEMPLATE),
    "overfitting": (lambda s: {"early_stopping_patience": s["early_stopping_patience"] or 2}, MORE_DROPOUT, SLOWER),
    "memorised": (FEWER_EPOCHS, stricter_duplicates, MORE_DROPOUT, HALF_THE_RANK),
    "leaked": (STRICTER_SPLIT, stricter_duplicates),
    "gibberish": (MUCH_SLOWER, OWN_TEMPLATE),
    "never_stops": (OWN_TEMPLATE, times("num_train_epochs", 2), times("learning_rate", 3, high=0.5)),
    "copies": (OWN_TEMPLATE, times("num_train_epochs", 2)),
    "unrelated": (times("num_train_epochs", 2), times("learning_rate", 3, high=0.5)),
    "mismatch": (OWN_TEMPLATE,),
}
LOOK = ("low_at_start", "never_stops", "copies", "unrelated", "mismatch", "leaked")  # faults of rows or template


def remedies(name: str, settings: dict, epochs: float | None = None) -> list[str]:
    """The commands to try against a verdict, with values computed from the current ones.

    `epochs` is how far the run was at the verdict's step.
    """
    changes = [change(settings) for change in REMEDIES[name]]
    if name == "overfitting" and epochs:
        changes.insert(0, {"num_train_epochs": epochs})
    commands = [command(key, value) for change in changes for key, value in change.items() if value != settings[key]]
    return commands + ([preview(source) for source in settings["sources"].values()] if name in LOOK else [])


def command(key: str, value: object) -> str:
    """The experiment with one param changed; numbers keep two digits."""
    shown = f"{value:.2g}" if isinstance(value, float) else "null" if value is None else value
    return f"dvc exp run -S {key}={shown}"


def preview(source: dict) -> str:
    """Shows the rows of a source as tokens, with what is learnt marked."""
    revision = f" --revision {source['revision']}" if source.get("revision") else ""
    return f"python -m stages.ingest preview {shlex.quote(source['path'])}{revision}"
