"""What to try against each verdict: changes of params, as commands with values computed from the current ones."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from tunelock.model.methods.all_methods import METHODS

Change = Callable[[Mapping[str, Any]], dict]  # settings: the params to change, with their new values


def _scale_param(key: str, factor: float, low: float = 0.0, high: float = float("inf")) -> Change:
    """A change of one param by a factor, within bounds."""

    def change_param(settings: Mapping[str, Any]) -> dict:
        return {key: min(high, max(low, settings[key] * factor))}

    return change_param


def _for_lora(change: Change) -> Change:
    """A change that makes sense for LoRA alone."""

    def change_lora(settings: Mapping[str, Any]) -> dict:
        return change(settings) if METHODS[settings["method"]].has_rank else {}

    return change_lora


def _lengthen_warmup(settings: Mapping[str, Any]) -> dict:
    """At least a tenth of the steps; steps are doubled."""
    steps = settings["warmup_steps"]
    return {"warmup_steps": min(0.3, max(0.1, 2 * steps)) if steps < 1 else 2 * steps}


def _widen_duplicates(settings: Mapping[str, Any]) -> dict:
    """Rows that are less alike count as near-duplicates."""
    return {"near_duplicate_threshold": max(0.3, (settings["near_duplicate_threshold"] or 0.9) - 0.1)}


def _raise_dropout(settings: Mapping[str, Any]) -> dict:
    """Twice the dropout, at least 0.1 and at most 0.5."""
    return {"lora_dropout": min(0.5, max(0.1, 2 * settings["lora_dropout"]))}


def _halve_rank(settings: Mapping[str, Any]) -> dict:
    return {"lora_r": max(1, settings["lora_r"] // 2)}


def _use_own_template(_settings: Mapping[str, Any]) -> dict:
    """The chat template that comes with the model."""
    return {"chat_template": None}


def _stop_early(settings: Mapping[str, Any]) -> dict:
    return {"early_stopping_patience": settings["early_stopping_patience"] or 2}


SLOWER, MUCH_SLOWER = _scale_param("learning_rate", 1 / 3), _scale_param("learning_rate", 0.1)
FASTER, MUCH_FASTER = _scale_param("learning_rate", 3, high=0.5), _scale_param("learning_rate", 10, high=0.5)
BIGGER_BATCH, SMALLER_CLIP = _scale_param("gradient_accumulation_steps", 4), _scale_param("max_grad_norm", 0.3)
TWICE_THE_RANK, HALF_THE_RANK = _for_lora(_scale_param("lora_r", 2)), _for_lora(_halve_rank)
MORE_DROPOUT = _for_lora(_raise_dropout)
MORE_EPOCHS, FEWER_EPOCHS = _scale_param("num_train_epochs", 2), _scale_param("num_train_epochs", 0.5)
STRICTER_SPLIT = _scale_param("leak_threshold", 0.8, low=0.3)

# What to try, in this order. The verdict on overfitting also gets the epochs of its best step.
REMEDIES: dict[str, tuple[Change, ...]] = {
    "low_at_start": (_use_own_template, STRICTER_SPLIT),
    "diverging": (MUCH_SLOWER, SMALLER_CLIP, _lengthen_warmup),
    "spiking": (SLOWER, SMALLER_CLIP, _lengthen_warmup, BIGGER_BATCH),
    "oscillating": (SLOWER, BIGGER_BATCH),
    "flat": (MUCH_FASTER, TWICE_THE_RANK, MORE_EPOCHS),
    "no_gain": (MUCH_FASTER, MORE_EPOCHS, _use_own_template),
    "overfitting": (_stop_early, MORE_DROPOUT, SLOWER),
    "memorised": (FEWER_EPOCHS, _widen_duplicates, MORE_DROPOUT, HALF_THE_RANK),
    "leaked": (STRICTER_SPLIT, _widen_duplicates),
    "gibberish": (MUCH_SLOWER, _use_own_template),
    "never_stops": (_use_own_template, MORE_EPOCHS, FASTER),
    "copies": (_use_own_template, MORE_EPOCHS),
    "unrelated": (MORE_EPOCHS, FASTER),
    "mismatch": (_use_own_template,),
}
LOOK = ("low_at_start", "never_stops", "copies", "unrelated", "mismatch", "leaked")  # faults of rows or template


def list_remedies(name: str, settings: Mapping[str, Any], epochs: float | None = None) -> list[str]:
    """The commands to try against a verdict, with values computed from the current ones.

    `epochs` is how far the run was at the verdict's step.
    """
    changes = [change(settings) for change in REMEDIES[name]]
    if name == "overfitting" and epochs:
        changes.insert(0, {"num_train_epochs": epochs})
    commands = []
    for change in changes:
        for key, value in change.items():
            if value != settings[key]:
                commands.append(_format_experiment(key, value))
    if name in LOOK:
        commands += [_format_preview(source) for source in settings["sources"].values()]
    return commands


def _format_experiment(key: str, value: object) -> str:
    """The experiment with one param changed; numbers keep two digits."""
    if isinstance(value, float):
        return f"dvc exp run -S {key}={value:.2g}"
    return f"dvc exp run -S {key}={'null' if value is None else value}"


def _format_preview(source: dict) -> str:
    """Shows the rows of a source as tokens, with what is learnt marked."""
    revision = f" --revision {source['revision']}" if source.get("revision") else ""
    return f"tunelock preview {shlex.quote(source['path'])}{revision}"
