"""Penalties against forgetting: what a step of training pays for leaving the base model.

`l2` and `ewc` measure the weights' displacement from the base, `kl` the answers' divergence. A penalty is built from
the base, before training starts or a checkpoint is loaded, and then called once an optimiser step.
"""

from peft import PeftModel
from transformers import PreTrainedModel

from tunelock.rendering.rendering import IGNORE
from tunelock.run.errors import Stop
from tunelock.training.penalties.displacement import Displacement
from tunelock.training.penalties.divergence import Divergence
from tunelock.training.penalties.replay import drawn

FISHER_ROWS = 64  # a backward pass each, before training: a minute on a core for 135M parameters and rows of 130 tokens
KL_ROWS = 512  # a forward pass each, before training: a minute too


def penalty(
    regularization: str, regularization_weight: float, model: PreTrainedModel | PeftModel, rows: list[dict],
    batch_size: int, seed: int,
) -> "Displacement | Divergence | None":  # fmt: skip
    """The penalty of `params.yaml`'s `regularization`, None for `none`: `penalty(model, step)` is a scalar tensor.

    Args:
        model: with its adapter, if it has one, and untrained. Build and call it under the same autocast.
        rows: rendered replay rows (`id`, `input_ids`, `labels`, see `tunelock.rendering.rendering.fit`); unused by l2.
        batch_size: replay rows a step (kl).

    Raises:
        Stop: ewc or kl without replay rows; l2 or ewc for a method that does not move the base's weights by a matrix.
    """
    if regularization == "none":
        return None
    if regularization == "l2":
        return Displacement(model, regularization_weight)
    rows = [row for row in rows if any(label != IGNORE for label in row["labels"][1:])]
    if not rows:
        raise Stop(
            f"regularization is {regularization}, which needs replay rows, and train has none; give a source "
            "`role: replay` and set replay_share, or use l2."
        )
    if regularization == "ewc":
        return Displacement(model, regularization_weight, drawn(rows, seed, FISHER_ROWS))
    return Divergence(model, regularization_weight, drawn(rows, seed, KL_ROWS), batch_size, seed)
