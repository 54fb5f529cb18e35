"""Training that stops on request: a whole checkpoint after the current step, from which it goes on to the same bits."""

import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from trl import SFTTrainer

from tunelock.run.stop_requests import StoppedOnRequest, StopRequest, hold_stops

VALIDATION_DUE = "validation_due"  # in a checkpoint of a step whose validation was not waited for


class _ValidationWasLast(Exception):
    """The validation that a checkpoint lacked was all that a run had left to do."""


class _RandomState(NamedTuple):
    """The states of all generators that training draws from."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: torch.Tensor | None


def take_random_state() -> _RandomState:
    """The states as they are, to be put back by `_restore_random_state`."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return _RandomState(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)


def _restore_random_state(state: _RandomState) -> None:
    """Have the next random numbers be those that came after `take_random_state`."""
    random.setstate(state.python)
    np.random.set_state(state.numpy)
    torch.set_rng_state(state.cpu)
    if state.cuda is not None:
        torch.cuda.set_rng_state(state.cuda)


def lacks_validation(checkpoint: Path) -> bool:
    """Whether a checkpoint was written in the middle of the validation of its step."""
    return (checkpoint / VALIDATION_DUE).exists()


class StoppableTrainer(SFTTrainer):
    """SFTTrainer that ends with `StoppedOnRequest` after the step in which it is asked to, and saves before.

    A request within a validation does not wait for its end: a machine that is taken away gives half a minute. The
    checkpoint is then of the moment before the validation, random numbers included, and who goes on from it validates
    first. A training that saves nothing (the pilot's) holds no request and so ends at once.

    Who inherits sets `saved_step` when a checkpoint is written, and marks it if `validation_cut`.
    """

    stop: StopRequest | None = None  # while it trains
    saved_step: int | None = None
    validation_cut = False

    def train(self, *args, **kwargs):
        if self.args.save_strategy == "no":
            return super().train(*args, **kwargs)
        with hold_stops() as self.stop:
            try:
                done = super().train(*args, **kwargs)
            except _ValidationWasLast:
                done = None
            self._stop_if_asked()  # in the last save, say
        self.stop = None
        return done

    def stop_validation_if_asked(self, before: _RandomState) -> None:
        """To be called between the batches of a validation; `before` is the state at its beginning."""
        if self.stop and self.stop.asked:
            _restore_random_state(before)
            self.validation_cut = True
            self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if not (self.stop and self.stop.asked):
            return
        step, last = self.state.global_step, self.state.max_steps
        if self.saved_step != step:
            self._save_checkpoint(self.model, None)
        raise StoppedOnRequest(
            f"stopped on request at step {step} of {last}; run the same command again, it goes on from there."
        )

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self._stop_if_asked()

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        if resume_from_checkpoint:
            self.saved_step = self.state.global_step
            if lacks_validation(Path(resume_from_checkpoint)):
                self._make_up_for_validation(resume_from_checkpoint)
        return prepared

    def _make_up_for_validation(self, checkpoint: str) -> None:
        """Validate as the run would have that wrote the checkpoint, and write it again with the result."""
        self._load_rng_state(checkpoint)
        self.evaluate()
        self._save_checkpoint(self.model, None)
        if self.is_over(self.state):  # the loop of transformers makes a step before it looks
            raise _ValidationWasLast
