"""Cross-entropy over the answer's tokens without the logits of all the others."""

import torch
from transformers import PretrainedConfig, PreTrainedModel

from tunelock.rendering.conversation import IGNORE

CHUNK = 256  # rows of logits alive at a time: 256 x 49,152 x 4 bytes = 50 MB


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of `hidden @ weight.T` against `targets`, each times its scale, chunk by chunk.

    The gradients are made in the forward pass, while a chunk's logits exist, so neither they nor their softmax
    is kept (the idea of Liger's fused linear cross-entropy, Hsu et al. 2024, https://arxiv.org/abs/2410.10989).
    Logits are float32 from the product on.

    Shapes: hidden (tokens, features), weight (vocabulary, features), targets and scales (tokens,), scales None for 1;
    the result is a scalar.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, scales=None):
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(targets), CHUNK):
            part, target = hidden[start : start + CHUNK], targets[start : start + CHUNK]
            logits = (part @ weight.t()).float()
            scale = None if scales is None else scales[start : start + CHUNK, None]
            top, wanted = logits.amax(-1, keepdim=True), logits.gather(1, target[:, None])
            grad = logits.sub_(top).exp_()  # softmax but for its sum, in place of the logits
            sums = grad.sum(-1, keepdim=True)
            losses = top + sums.log() - wanted
            total += (losses if scale is None else losses * scale).sum()
            if grad_hidden is None:
                continue
            grad.div_(sums).scatter_add_(1, target[:, None], grad.new_full((len(target), 1), -1.0))
            grad = (grad if scale is None else grad.mul_(scale)).to(weight.dtype)
            grad_hidden[start : start + CHUNK] = grad @ weight
            if grad_weight is not None:
                grad_weight += grad.t() @ part
            del logits, grad  # or they would live on while the next chunk is made
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx, grad_output):
        grad_hidden, grad_weight = ctx.saved_tensors
        return (*(None if grad is None else grad * grad_output for grad in (grad_hidden, grad_weight)), None, None)


def compute_response_loss(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, scales: torch.Tensor | None = None
) -> tuple[torch.Tensor, int]:
    """Return the summed cross-entropy (nats) over the labelled tokens, and how many there are.

    Shapes: hidden (batch, length, features), weight (vocabulary, features), labels (batch, length) with
    `IGNORE` where there is no loss, scales (batch, length): what the loss of each label is multiplied by, None for 1.
    Position t predicts label t + 1.
    """
    weight = weight if torch.is_grad_enabled() else weight.detach()
    targets = labels[:, 1:]
    chosen = targets != IGNORE
    states = hidden[:, :-1][chosen].to(weight.dtype)
    scales = None if scales is None else scales[:, 1:][chosen]
    return _ChunkedCrossEntropy.apply(states, weight, targets[chosen], scales), int(chosen.sum())


def compute_logits_loss(
    logits: torch.Tensor, labels: torch.Tensor, scales: torch.Tensor | None = None
) -> tuple[torch.Tensor, int]:
    """`compute_response_loss` from logits (batch, length, vocabulary), for heads that are more than a matrix."""
    chosen = labels[:, 1:] != IGNORE
    losses = torch.nn.functional.cross_entropy(logits[:, :-1][chosen].float(), labels[:, 1:][chosen], reduction="none")
    return (losses if scales is None else losses * scales[:, 1:][chosen]).sum(), int(chosen.sum())


def find_head_weight(model: PreTrainedModel) -> torch.Tensor | None:
    """The weight of a head that is nothing but a matrix, or None for a model whose logits take more than that."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    adapter = getattr(head, "token_adapter", None)  # PEFT's, where the embeddings of new tokens are trained
    weight = adapter.get_merged_weights(adapter.active_adapters) if adapter else getattr(head, "weight", None)
    head = adapter.base_layer if adapter else head
    plain = type(head) is torch.nn.Linear and head.bias is None
    return weight if plain and _read_scale(config) == 1 and not _read_cap(config) else None


def apply_head(head: torch.nn.Module, config: PretrainedConfig, states: torch.Tensor) -> torch.Tensor:
    """The model's logits in float32, with what models do behind the product; `tunelock.model.trials` tries it."""
    raw, cap = head(states.to(head.weight.dtype)).float() * _read_scale(config), _read_cap(config)
    return raw if not cap else cap * torch.tanh(raw / cap)


def _read_scale(config: PretrainedConfig) -> float:
    """What logits are multiplied by: Cohere and Falcon H1 have a factor, Granite a divisor."""
    factor = (getattr(config, "logit_scale", None) or 1) * (getattr(config, "lm_head_multiplier", None) or 1)
    return factor / (getattr(config, "logits_scaling", None) or 1)


def _read_cap(config: PretrainedConfig) -> float | None:
    """What logits are kept below by a tanh: Gemma 2 and RecurrentGemma have such a cap."""
    return getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
