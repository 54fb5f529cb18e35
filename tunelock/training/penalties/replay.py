"""Replay rows as tensors, and the base model to run them through."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from tunelock.model.tuned import unwrap_model
from tunelock.rendering.conversation import IGNORE


def draw_rows(rows: Sequence[Mapping[str, Any]], seed: int, limit: int) -> list[Mapping[str, Any]]:
    """At most `limit` of the rows, chosen by the seed."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return [rows[i] for i in sorted(order[:limit])]


@contextmanager
def borrow_base(model: PreTrainedModel | PeftModel):
    """Yield the model as it was before training: without adapter and dropout."""
    training = model.training
    model.eval()
    with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
        yield unwrap_model(model)
    model.train(training)


def pad_rows(rows: Sequence[Mapping[str, Any]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """`input_ids` and `labels` of shape (rows, longest row), padded on the right, where attention does not look."""
    ids = pad_sequence([torch.tensor(row["input_ids"]) for row in rows], batch_first=True)
    labels = pad_sequence([torch.tensor(row["labels"]) for row in rows], batch_first=True, padding_value=IGNORE)
    return ids.to(device), labels.to(device)
