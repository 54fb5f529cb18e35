"""LoRA layers with fewer passes over memory, for training; the results are PEFT's.

What a step costs on a CPU beside its matrix products is reading and writing activations. PEFT's layer computes
`base(x) + lora_B(lora_A(x)) * scaling` in five passes over the result, autograd as many again; here the low-rank part
is added by the product that makes it (`addmm`). The idea is Unsloth's (https://github.com/unslothai/unsloth); gradients
are written out and tested against autograd.
"""

import types

import torch
from peft.tuners.lora import Linear as LoraLayer
from transformers import PreTrainedModel


class LowRankLinear(torch.autograd.Function):
    """`x W^T + scaling (x A^T) B^T` for a frozen W.

    Shapes: x (rows, in), W (out, in), bias (out,) or None, A (r, in), B (out, r); the result is (rows, out) in W's
    dtype, in which the products are made. Gradients come in the dtypes of x, A and B.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scaling):
        low_a, low_b = a.to(weight.dtype), b.to(weight.dtype)
        reduced = x @ low_a.t()
        result = torch.nn.functional.linear(x, weight, bias)
        result.addmm_(reduced, low_b.t(), alpha=scaling)
        ctx.save_for_backward(x, weight, low_a, low_b, reduced)
        ctx.scaling = scaling
        return result

    @staticmethod
    def backward(ctx, grad):
        x, weight, a, b, reduced = ctx.saved_tensors
        grad_reduced = (grad @ b).mul_(ctx.scaling)
        grad_x = (grad @ weight).addmm_(grad_reduced, a) if ctx.needs_input_grad[0] else None
        grad_b = (grad.t() @ reduced).mul_(ctx.scaling)
        return grad_x, None, None, grad_reduced.t() @ x, grad_b, None


def low_rank_forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    """`forward` of a PEFT layer as long as its one adapter is in force; PEFT's own otherwise."""
    if self.disable_adapters or self.merged or args or kwargs:
        return type(self).forward(self, x, *args, **kwargs)
    (name,) = self.active_adapters
    base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
    rows = x.reshape(-1, x.shape[-1]).to(base.weight.dtype)
    result = LowRankLinear.apply(rows, base.weight, base.bias, a, b, self.scaling[name])
    return result.view(*x.shape[:-1], -1)


def fuse(model: PreTrainedModel) -> int:
    """Give the plain LoRA layers of a model the fused forward; how many there are.

    Left as they are: layers with dropout, DoRA, a bias of LoRA's own, a quantised or a trained base.
    """
    count = 0
    for layer in model.modules():
        if not isinstance(layer, LoraLayer) or type(layer.base_layer) is not torch.nn.Linear:
            continue
        plain = not layer.lora_variant and len(layer.active_adapters) == 1 and not any(layer.lora_bias.values())
        dropless = all(isinstance(dropout, torch.nn.Identity) for dropout in layer.lora_dropout.values())
        trained = any(parameter.requires_grad for parameter in layer.base_layer.parameters())
        if plain and dropless and not trained:
            layer.forward = types.MethodType(low_rank_forward, layer)
            count += 1
    return count
