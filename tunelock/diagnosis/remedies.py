"""What to try against the verdicts: one experiment with values computed from the current ones, and what to look at."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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

# What to try against each verdict; the first that changes something. The gravest verdict stands first: where two pull a
# run apart, it decides. The verdict on overfitting also gets the epochs of its best step.
REMEDIES: dict[str, tuple[Change, ...]] = {
    "low_at_start": (_use_own_template, STRICTER_SPLIT),
    "leaked": (STRICTER_SPLIT, _widen_duplicates),
    "diverging": (MUCH_SLOWER, SMALLER_CLIP, _lengthen_warmup),
    "gibberish": (MUCH_SLOWER, _use_own_template),
    "spiking": (SLOWER, SMALLER_CLIP, _lengthen_warmup, BIGGER_BATCH),
    "oscillating": (SLOWER, BIGGER_BATCH),
    "overfitting": (_stop_early, MORE_DROPOUT, SLOWER),
    "memorised": (FEWER_EPOCHS, _widen_duplicates, MORE_DROPOUT, HALF_THE_RANK),
    "mismatch": (_use_own_template,),
    "quoted": (),
    "never_stops": (_use_own_template, MORE_EPOCHS, FASTER),
    "copies": (_use_own_template, MORE_EPOCHS),
    "unrelated": (MORE_EPOCHS, FASTER),
    "flat": (MUCH_FASTER, TWICE_THE_RANK, MORE_EPOCHS),
    "no_gain": (MUCH_FASTER, MORE_EPOCHS, _use_own_template),
}
LOOK = (
    "low_at_start",
    "never_stops",
    "copies",
    "unrelated",
    "mismatch",
    "leaked",
    "quoted",
)  # faults of rows, template
# Whether a higher value makes the run learn more (1) or less (-1) from each row; other keys do neither.
_PULLS = {"learning_rate": 1, "num_train_epochs": 1, "lora_r": 1, "max_grad_norm": 1, "lora_dropout": -1,
          "warmup_steps": -1, "early_stopping_patience": -1}  # fmt: skip
_MOST_ROWS = 8  # that a command opens


class RunVerdict(NamedTuple):
    """A fault by its name, the step where it shows (None: in the answers), the numbers, and the ids of rows behind it.

    epochs: how far the run was at that step.
    """

    name: str
    step: int | None
    evidence: str
    rows: tuple[str, ...] = ()
    epochs: float | None = None


def compose_remedy(verdicts: list[RunVerdict], settings: Mapping[str, Any]) -> list[str]:
    """What to do about all verdicts together: one experiment, and the rows to look at.

    The gravest verdict has the first word. Another one adds its change unless that pulls the run the other way, or the
    param is changed already: "no gain" of a run that broke is no reason to train faster.
    """
    verdicts = sorted(verdicts, key=lambda verdict: [*REMEDIES].index(verdict.name))
    changes: dict[str, Any] = {}
    pulls: set[int] = set()
    for verdict in verdicts:
        for key, value in _choose_change(verdict, settings).items():
            pull = _find_pull(key, value, settings)
            if key not in changes and -pull not in pulls - {0}:
                changes[key] = value
                pulls.add(pull)
    experiment = [_format_experiment(changes)] if changes else []
    return experiment + _list_looks(verdicts, settings)


def _choose_change(verdict: RunVerdict, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The first change against a verdict that is one."""
    changes = [change(settings) for change in REMEDIES[verdict.name]]
    if verdict.name == "overfitting" and verdict.epochs:
        changes.insert(0, {"num_train_epochs": verdict.epochs})
    found = {}
    for change in changes:
        found = found or {key: value for key, value in change.items() if value != settings[key]}
    return found


def _find_pull(key: str, value: Any, settings: Mapping[str, Any]) -> int:
    """1 if the change makes the run learn more, -1 if less, 0 if neither; to stop early is to learn less."""
    before = settings[key]
    return _PULLS.get(key, 0) * (1 if before is None or value > before else -1) if key in _PULLS else 0


def _format_experiment(changes: Mapping[str, Any]) -> str:
    """The experiment with these params changed; numbers keep two digits."""
    words = ["dvc exp run"]
    for key, value in changes.items():
        written = "null" if value is None else f"{value:.2g}" if isinstance(value, float) else value
        words.append(f"-S {key}={written}")
    return " ".join(words)


def _list_looks(verdicts: list[RunVerdict], settings: Mapping[str, Any]) -> list[str]:
    """The commands that show the rows behind the verdicts, or the sources where only those are known."""
    looks = [_format_rows(verdict.rows[:_MOST_ROWS]) for verdict in verdicts if verdict.rows]
    if any(verdict.name in LOOK and not verdict.rows for verdict in verdicts):
        looks += [f"tunelock preview {shlex.quote(name)}" for name in settings["sources"]]
    return list(dict.fromkeys(looks))


def _format_rows(ids: tuple[str, ...]) -> str:
    """Shows rows as tokens, with what is learnt marked."""
    return " ".join(["tunelock preview", *(f"--id {shlex.quote(name)}" for name in ids)])
