"""How far the weights have moved from the base's, and what that costs: L2-SP and elastic weight consolidation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from tunelock.model.losses import compute_response_loss, find_head_weight
from tunelock.model.tuned import compute_hidden_states
from tunelock.rendering.conversation import IGNORE
from tunelock.run.errors import Stop
from tunelock.training.penalties.replay import borrow_base, pad_rows


class Displacement:
    """`weight / 2 x sum F d^2` over the weights of the base, d being how far each has moved.

    Without rows F is 1: L2-SP (Li, Grandvalet and Davoine 2018, https://arxiv.org/abs/1802.01483). With replay rows F
    is their Fisher information: elastic weight consolidation (Kirkpatrick et al. 2017,
    https://arxiv.org/abs/1612.00796). F is per token, so that weight 1 charges about what the replay rows' divergence
    from the base costs in nats a token, as in `Divergence`, of which ewc is the second-order estimate.

    Full tuning and trained biases: d = p - p0. Memory: p0 in the dtype of p, for ewc 4 bytes a weight more; while it
    works, one weight matrix in float32.
    LoRA: d = scaling x B A. l2 needs no matrix of the base's size; ewc needs 4 bytes for each weight of the adapted
    layers and three float32 matrices of one layer at a time. New tokens and what else has no base are left alone.
    """

    def __init__(
        self, model: PreTrainedModel | PeftModel, weight: float, rows: Sequence[Mapping[str, Any]] | None = None
    ):
        self.weight = weight
        self.layers = _find_lora_layers(model)
        dense = _find_moved_weights(model)
        if not self.layers and not dense:
            raise Stop("regularization l2 and ewc pull the base's weights back, but this method moves none; use kl.")
        adapted = {name: layer.get_base_layer().weight for name, layer in self.layers.items()}
        self.importance = {} if rows is None else _measure_fisher(model, adapted | dense, rows)
        self.dense = {name: (parameter, parameter.detach().clone()) for name, parameter in dense.items()}

    def __call__(self, model: PreTrainedModel | PeftModel, step: int) -> torch.Tensor:
        # A weight that is frozen now has not moved yet: layers thaw, they do not freeze again.
        trained = [(name, pair) for name, pair in self.dense.items() if pair[0].requires_grad]
        with torch.autocast(model.device.type, enabled=False):
            parts = [_Pull.apply(*pair, self.importance.get(name)) for name, pair in trained]
            for name, layer in self.layers.items():
                parts.append(low_rank_pull(*_get_factors(layer), self.importance.get(name)))
            return self.weight * torch.stack(parts).sum()


def _find_lora_layers(model: PreTrainedModel | PeftModel) -> dict[str, LoraLayer]:
    """The LoRA layers of a model by name; Stop for those that do more than add `scaling x B A`, such as DoRA's."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    if any(layer.lora_variant for layer in layers.values()):
        raise Stop(
            "regularization l2 and ewc cannot measure how far DoRA moves the base; set use_dora to false, or use kl."
        )
    return layers


def _find_moved_weights(model: PreTrainedModel | PeftModel) -> dict[str, torch.nn.Parameter]:
    """The base's parameters that are trained themselves: all that are not frozen, or the biases beside LoRA."""
    adapted = isinstance(model, PeftModel)
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (not adapted or (name.endswith(".bias") and "lora_" not in name))
    }


def _get_factors(layer: LoraLayer) -> tuple[torch.Tensor, torch.Tensor, float]:
    """A (r, in), B (out, r) and the scaling of a layer's one adapter."""
    (name,) = layer.active_adapters
    return layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]


class _Pull(torch.autograd.Function):
    """Half the sum of `importance x (weight - base)^2`; the difference is made again in the backward pass, not kept."""

    @staticmethod
    def forward(ctx, weight, base, importance):
        ctx.save_for_backward(weight, base, importance)
        moved = weight.float() - base.float()
        return (moved.square() if importance is None else moved.square().mul_(importance)).sum() / 2

    @staticmethod
    def backward(ctx, grad_output):
        weight, base, importance = ctx.saved_tensors
        moved = (weight.float() - base.float()).mul_(grad_output)
        return (moved if importance is None else moved.mul_(importance)).to(weight.dtype), None, None


def low_rank_pull(a: torch.Tensor, b: torch.Tensor, scaling: float, importance: torch.Tensor | None) -> torch.Tensor:
    """Half the sum of `importance x (scaling B A)^2`; without importance from r x r matrices alone.

    `||B A||^2 = tr(A^T B^T B A) = tr((B^T B)(A A^T))`, and both factors are symmetric.
    """
    a, b = a.float(), b.float()
    if importance is None:
        return ((b.t() @ b) * (a @ a.t())).sum() * (scaling**2 / 2)
    return _WeightedLowRankPull.apply(a, b, scaling, importance)


class _WeightedLowRankPull(torch.autograd.Function):
    """`low_rank_pull` with an importance (out, in); keeps the gradients of A and B, no matrix of the layer's size."""

    @staticmethod
    def forward(ctx, a, b, scaling, importance):
        moved = (b @ a).mul_(scaling)
        pull = moved * importance
        ctx.save_for_backward((b.t() @ pull).mul_(scaling), (pull @ a.t()).mul_(scaling))
        return moved.mul_(pull).sum() / 2

    @staticmethod
    def backward(ctx, grad_output):
        return *(grad * grad_output for grad in ctx.saved_tensors), None, None


def _measure_fisher(
    model: PreTrainedModel | PeftModel, weights: dict[str, torch.nn.Parameter], rows: Sequence[Mapping[str, Any]]
) -> dict[str, torch.Tensor]:
    """The diagonal of the base's empirical Fisher information per supervised token, a float32 tensor for each weight.

    The squared gradient of each row's log-likelihood (the given answer's, hence empirical), summed over the rows and
    divided by their tokens. One gradient exists at a time beside the sums.

    Raises:
        Stop: a weight is quantised.
    """
    if not all(weight.is_floating_point() for weight in weights.values()):
        raise Stop(
            "ewc needs gradients of the base's weights, and quantised ones have none; use method lora, or kl or l2."
        )
    sums = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    trained = {name: weight.requires_grad for name, weight in weights.items()}

    def collect(total: torch.Tensor):
        def hook(weight: torch.nn.Parameter) -> None:
            total.addcmul_(weight.grad.float(), weight.grad.float())
            weight.grad = None

        return hook

    tokens, hooks = 0, []
    with borrow_base(model) as base:
        for name, weight in weights.items():
            weight.requires_grad_()
            hooks.append(weight.register_post_accumulate_grad_hook(collect(sums[name])))
        for row in rows:
            loss, count = _sum_row_loss(base, *pad_rows([row], base.device))
            loss.backward()
            tokens += count
    for hook in hooks:
        hook.remove()
    for name, weight in weights.items():
        weight.requires_grad_(trained[name])
    return {name: total.div_(tokens) for name, total in sums.items()}


def _sum_row_loss(base: PreTrainedModel, input_ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The summed cross-entropy (nats) of the supervised tokens, and how many there are."""
    weight = find_head_weight(base)
    if weight is not None:
        return compute_response_loss(compute_hidden_states(base, input_ids), weight, labels)
    tokens = int((labels[:, 1:] != IGNORE).sum())
    return base(input_ids=input_ids, labels=labels, use_cache=False).loss * tokens, tokens
