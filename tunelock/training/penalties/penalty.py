"""The protocol of a penalty: what a step of training pays for leaving the base model.

A new one is a file with a subclass, and its entry in `all_penalties`. Importing it brings neither torch nor PEFT.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch


class Replay(NamedTuple):
    """Rendered rows of the sources with `role: replay`, how many a step takes, and the seed that orders them."""

    rows: Sequence[Mapping[str, Any]]
    batch_size: int
    seed: int


class Penalty:
    """One way to hold a model near its base."""

    name: str  # as params.yaml has it
    summary: str  # what a person reads of it
    needs_replay = False  # rows of general data, to compare with the base on
    needs_moved_weights = False  # a method that moves the base's weights by a matrix, for it measures how far
    needs_gradients = False  # of the base's weights

    def build(self, model: Any, weight: float, replay: Replay) -> "Callable[[Any, int], torch.Tensor]":
        """What is called once an optimiser step with the model and the step's number, for a scalar tensor.

        Args:
            model: with its adapter, if it has one, and untrained. Build and call under the same autocast.
            weight: `regularization_weight` of params.yaml.
        """
        raise NotImplementedError
