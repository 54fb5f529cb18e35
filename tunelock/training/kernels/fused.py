"""LoRA layers with fewer passes over memory, for training; the results are PEFT's.

What a step costs on a CPU beside its matrix products is reading and writing activations. PEFT's layer computes
`base(x) + lora_B(lora_A(x)) * scaling` in five passes over the result, autograd as many again; here the low-rank part
is added by the product that makes it (`addmm`), and an MLP keeps two of its widest tensors instead of four. The idea is
Unsloth's (https://github.com/unslothai/unsloth); gradients are written out and tested against autograd.
"""

import itertools
import types

import torch
from peft.tuners.lora import Linear as LoraLayer
from transformers import PreTrainedModel

GATED = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "GemmaMLP", "Gemma2MLP")  # down_proj(act_fn(gate_proj(x)) * up_proj(x))


def _multiply_low_rank(x, weight, bias, a, b, scaling) -> tuple[torch.Tensor, tuple]:
    """`x W^T + bias + scaling (x A^T) B^T` in W's dtype, and what its gradients take.

    Shapes: x (rows, in), W (out, in), bias (out,) or None, A (r, in), B (out, r); the result is (rows, out).
    """
    a, b = a.to(weight.dtype), b.to(weight.dtype)
    reduced = x @ a.t()
    result = torch.nn.functional.linear(x, weight, bias).addmm_(reduced, b.t(), alpha=scaling)
    return result, (weight, a, b, reduced)


def _compute_low_rank_gradients(grad, x, kept: tuple, scaling, of_x: bool = True) -> tuple:
    """The gradients of x (None unless `of_x`), A and B; W is frozen."""
    weight, a, b, reduced = kept
    grad_reduced = (grad @ b).mul_(scaling)
    grad_x = (grad @ weight).addmm_(grad_reduced, a) if of_x else None
    return grad_x, grad_reduced.t() @ x, (grad.t() @ reduced).mul_(scaling)


class _LowRankLinear(torch.autograd.Function):
    """`_multiply_low_rank`. Autograd turns the gradients to the dtypes of x, A and B."""

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scaling):
        result, kept = _multiply_low_rank(x, weight, bias, a, b, scaling)
        ctx.save_for_backward(x, *kept)
        ctx.scaling = scaling
        return result

    @staticmethod
    def backward(ctx, grad):
        x, *kept = ctx.saved_tensors
        grad_x, grad_a, grad_b = _compute_low_rank_gradients(grad, x, kept, ctx.scaling, ctx.needs_input_grad[0])
        return grad_x, None, None, grad_a, grad_b, None


class _LowRankMLP(torch.autograd.Function):
    """`down(act(gate(x)) * up(x))` for x (rows, in), each of the three a `_multiply_low_rank` with its five arguments.

    What gate and up made is kept; what down is given is made from them once more in the backward pass.
    """

    @staticmethod
    def forward(ctx, x, act, *factors):
        gate, up, down = factors[:5], factors[5:10], factors[10:]
        opened, kept_gate = _multiply_low_rank(x, *gate)
        raised, kept_up = _multiply_low_rank(x, *up)
        result, kept_down = _multiply_low_rank(act(opened) * raised, *down)
        ctx.save_for_backward(x, opened, raised, *kept_gate, *kept_up, *kept_down)
        ctx.act, ctx.scalings = act, (gate[-1], up[-1], down[-1])
        return result

    @staticmethod
    def backward(ctx, grad):
        x, opened, raised, *kept = ctx.saved_tensors
        of_gate, of_up, of_down = ctx.scalings
        with torch.enable_grad():
            sides = [side.detach().requires_grad_() for side in (opened, raised)]
            hidden = ctx.act(sides[0]) * sides[1]
        grad_hidden, *down = _compute_low_rank_gradients(grad, hidden.detach(), kept[8:], of_down)
        grad_opened, grad_raised = torch.autograd.grad(hidden, sides, grad_hidden)
        grad_x, *gate = _compute_low_rank_gradients(grad_opened, x, kept[:4], of_gate)
        grad_too, *up = _compute_low_rank_gradients(grad_raised, x, kept[4:8], of_up)
        grad_factors = [None, None, *gate, None, None, None, *up, None, None, None, *down, None]
        return grad_x.add_(grad_too), None, *grad_factors


def _has_adapter_in_force(layer: torch.nn.Module) -> bool:
    """Whether the layer still has its adapter, switched on and not merged."""
    return isinstance(layer, LoraLayer) and not layer.disable_adapters and not layer.merged


def _read_factors(layer: LoraLayer) -> tuple:
    """What `_multiply_low_rank` takes beside x, of a layer with one adapter."""
    (name,) = layer.active_adapters
    base = layer.base_layer
    return base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]


def _flatten_rows(x: torch.Tensor, layer: LoraLayer) -> torch.Tensor:
    """x (…, in) as (rows, in) in the layer's dtype."""
    return x.reshape(-1, x.shape[-1]).to(layer.base_layer.weight.dtype)


def _forward_low_rank(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    """`forward` of a PEFT layer as long as its one adapter is in force; PEFT's own otherwise."""
    if not _has_adapter_in_force(self) or args or kwargs:
        return type(self).forward(self, x, *args, **kwargs)
    return _LowRankLinear.apply(_flatten_rows(x, self), *_read_factors(self)).view(*x.shape[:-1], -1)


def _forward_mlp(self, x: torch.Tensor) -> torch.Tensor:
    """`forward` of an MLP as long as the adapters of its layers are in force; Transformers' own otherwise."""
    layers = self.gate_proj, self.up_proj, self.down_proj
    if not all(_has_adapter_in_force(layer) for layer in layers):
        return type(self).forward(self, x)
    five_each = itertools.chain.from_iterable(map(_read_factors, layers))
    return _LowRankMLP.apply(_flatten_rows(x, layers[0]), self.act_fn, *five_each).view(*x.shape[:-1], -1)


def fuse_lora_layers(model: PreTrainedModel) -> int:
    """Give the plain LoRA layers of a model, and the MLPs made of them, the fused forward; how many layers there are.

    Left as they are: layers with dropout, DoRA, a bias of LoRA's own, a quantised or a trained base.
    """
    fused = set()
    for layer in model.modules():
        if not isinstance(layer, LoraLayer) or type(layer.base_layer) is not torch.nn.Linear:
            continue
        plain = not layer.lora_variant and len(layer.active_adapters) == 1 and not any(layer.lora_bias.values())
        dropless = all(isinstance(dropout, torch.nn.Identity) for dropout in layer.lora_dropout.values())
        trained = any(parameter.requires_grad for parameter in layer.base_layer.parameters())
        if plain and dropless and not trained:
            layer.forward = types.MethodType(_forward_low_rank, layer)
            fused.add(layer)
    for module in model.modules():
        if type(module).__name__ in GATED and fused.issuperset((module.gate_proj, module.up_proj, module.down_proj)):
            module.forward = types.MethodType(_forward_mlp, module)
    return len(fused)
