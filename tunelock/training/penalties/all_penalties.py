"""The penalties by the name that params.yaml has for them, and what each excludes.

A new penalty: its file, its import, its place in the list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tunelock.model.methods.all_methods import METHODS
from tunelock.run.errors import Stop
from tunelock.run.rules import Values, rule
from tunelock.training.penalties.ewc import Ewc
from tunelock.training.penalties.kl import Kl
from tunelock.training.penalties.l2 import L2
from tunelock.training.penalties.penalty import Penalty, Replay

ALL: tuple[Penalty, ...] = (L2(), Ewc(), Kl())
PENALTIES = {penalty.name: penalty for penalty in ALL}
NO_PENALTY = "none"


def list_penalties(**needs: bool) -> list[str]:
    """The names of the penalties with these needs, such as `needs_replay=True`."""
    found = list(ALL)
    for need, wanted in needs.items():
        found = [penalty for penalty in found if getattr(penalty, need) is wanted]
    return [penalty.name for penalty in found]


HOLD_WEIGHTS, HOLD_ANSWERS = list_penalties(needs_moved_weights=True), list_penalties(needs_moved_weights=False)
WITH_GRADIENTS, WITHOUT_GRADIENTS = list_penalties(needs_gradients=True), list_penalties(needs_gradients=False)


@rule(
    f"regularization: {' and '.join(HOLD_WEIGHTS)} hold the base's weights, which soft prompts leave alone; "
    f"set none or {' or '.join(HOLD_ANSWERS)}."
)
def _unmoved_weights_are_held(values: Values) -> bool:
    return values["regularization"] in HOLD_WEIGHTS and not METHODS[values["method"]].moves_base_weights


@rule(
    f"regularization: {' and '.join(WITH_GRADIENTS)} needs gradients of the base's weights, which quantised ones have "
    f"not; set {' or '.join(WITHOUT_GRADIENTS)}."
)
def _base_has_no_gradients(values: Values) -> bool:
    return values["regularization"] in WITH_GRADIENTS and not METHODS[values["method"]].base_has_gradients


@rule(
    f"regularization: {' and '.join(HOLD_WEIGHTS)} do not know DoRA's magnitudes; set {' or '.join(HOLD_ANSWERS)}, "
    "or use_dora to false."
)
def _weights_of_dora_are_held(values: Values) -> bool:
    return values["use_dora"] and values["regularization"] in HOLD_WEIGHTS


def build_penalty(
    regularization: str,
    regularization_weight: float,
    model: Any,
    rows: Sequence[Mapping[str, Any]],
    batch_size: int,
    seed: int,
) -> Any:
    """The penalty of params.yaml's `regularization`, None for `none`: see `Penalty.build`.

    Args:
        rows: rendered replay rows (`tunelock.rendering.rendering.RenderedRow`); unused by l2.
        batch_size: replay rows a step (kl).

    Raises:
        Stop: no replay rows for a penalty that needs them; a method that does not move the base's weights by a matrix
            for one that measures how far.
    """
    if regularization == NO_PENALTY:
        return None
    from tunelock.rendering.conversation import IGNORE

    penalty = PENALTIES[regularization]
    if penalty.needs_replay:
        rows = [row for row in rows if set(row["labels"][1:]) - {IGNORE}]
        if not rows:
            raise Stop(
                f"regularization is {regularization}, which needs replay rows, and train has none; give a source "
                f"`role: replay` and set replay_share, or use {' or '.join(list_penalties(needs_replay=False))}."
            )
    return penalty.build(model, regularization_weight, Replay(rows, batch_size, seed))
