"""How much arithmetic a training takes, and how much of the disk."""

from typing import NamedTuple

from tunelock.model.methods.architecture import Architecture
from tunelock.planning.memory import MOMENTS, MOMENTS_8BIT, WEIGHT
from tunelock.planning.memory_settings import MemorySettings

FULL_STATES = ("adamw_torch", "paged_adamw_32bit")  # optimisers whose moments are float32 on disk


class _Disk(NamedTuple):
    """Bytes on disk by part, in the work space; DVC's cache holds all but the checkpoints once more."""

    base: float
    checkpoints: float
    adapter: float
    merged: float


def count_flops(shape: Architecture, settings: MemorySettings, length: float, labelled_share: float) -> float:
    """Floating-point operations a token: 2 a weight forward, 2 for the gradient of its input, 2 more for its own.

    Causal attention multiplies half of the square of the length, forward twice and backward five times (Dao 2023,
    https://arxiv.org/abs/2307.08691). Gradient checkpointing adds a forward pass.
    """
    body, head = shape.active_weights, shape.vocab * shape.hidden
    attention = shape.layers * length * shape.query_width
    forward = 2 * body + 2 * attention
    trained = settings.entry.count_trained(shape, settings)
    own = 4 * trained if settings.entry.has_rank else 0  # the adapters' forward pass, and the way back through them
    total = forward * (2 if settings.gradient_checkpointing else 1) + 2 * body + 5 * attention + own + 2 * trained
    return total + 4 * head * labelled_share


def estimate_disk(shape: Architecture, settings: MemorySettings, save_total_limit: int) -> _Disk:
    """The files of a run; one checkpoint more than the limit is there while it is being written."""
    trained, model = settings.entry.count_trained(shape, settings), settings.width * shape.parameters
    frozen = settings.width * (shape.parameters - trained) if settings.entry.trains_whole_model else 0
    saved = WEIGHT * trained + frozen
    moments = MOMENTS if settings.optim in FULL_STATES else MOMENTS_8BIT
    return _Disk(model, (save_total_limit + 1) * (saved + moments * trained), saved, model)
