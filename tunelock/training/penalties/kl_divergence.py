"""How far the answers have moved from the base's, and what that costs: learning without forgetting."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from tunelock.model.losses import apply_head
from tunelock.model.tuned import compute_hidden_states
from tunelock.rendering.conversation import IGNORE
from tunelock.training.penalties.replay import borrow_base, pad_rows

CHUNK = 64  # tokens whose logits exist at a time; some six float32 matrices of 64 x vocabulary


class Divergence:
    """`weight x KL(base || tuned)` in nats, the mean over the supervised tokens of a batch of replay rows.

    Learning without forgetting (Li and Hoiem 2016, https://arxiv.org/abs/1606.09282): the base's answers to other
    questions are taught beside the task.

    The base's hidden states at the supervised positions are made once, before training, so a step costs one pass over
    the replay batch and no second model: 2 bytes x features a token in bfloat16 (500 rows of 80 tokens, 576 features:
    46 MB), and a copy of the head if the head is trained. Which batch a step takes follows from seed and step alone.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        weight: float,
        rows: Sequence[Mapping[str, Any]],
        batch_size: int,
        seed: int,
    ):
        self.weight, self.seed = weight, seed
        rows = sorted(rows, key=lambda row: (len(row["input_ids"]), row["id"]))
        batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        self.batches = [pad_rows(batch, model.device) for batch in batches]
        with borrow_base(model) as base, torch.no_grad():
            self.base_states = [_select_supervised_states(base, *batch) for batch in self.batches]
            head = base.get_output_embeddings()
            trained = any(parameter.requires_grad for parameter in head.parameters())
            self.base_head = copy.deepcopy(head).requires_grad_(False) if trained else head

    def __call__(self, model: PreTrainedModel | PeftModel, step: int) -> torch.Tensor:
        number = self.choose_batch(step)
        states, base_states = _select_supervised_states(model, *self.batches[number]), self.base_states[number]
        head, config = model.get_output_embeddings(), model.config.get_text_config()
        total = sum(
            # The logits of a chunk are made again in the backward pass rather than kept.
            checkpoint(_sum_divergence, head, self.base_head, config, *chunks, use_reentrant=False)
            for chunks in zip(states.split(CHUNK), base_states.split(CHUNK))
        )
        return self.weight * total / len(states)

    def choose_batch(self, step: int) -> int:
        """Each batch comes once in as many steps as there are batches, in a new order every time."""
        round_, place = divmod(step, len(self.batches))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + round_)
        return int(torch.randperm(len(self.batches), generator=generator)[place])


def _select_supervised_states(
    model: PreTrainedModel | PeftModel, input_ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The hidden states, (tokens, features), from which the labelled tokens are predicted."""
    return compute_hidden_states(model, input_ids)[:, :-1][labels[:, 1:] != IGNORE]


def _sum_divergence(head, base_head, config, states: torch.Tensor, base_states: torch.Tensor) -> torch.Tensor:
    """The sum of KL(base || tuned) over the tokens; both states (tokens, features), the result a float32 scalar."""
    with torch.no_grad():
        base = apply_head(base_head, config, base_states).log_softmax(-1)
    tuned = apply_head(head, config, states).log_softmax(-1)
    return torch.nn.functional.kl_div(tuned, base, reduction="sum", log_target=True)
