"""Causal attention for training on a CPU, with a backward pass about three times as fast as PyTorch's.

PyTorch's kernel makes the forward pass, and keeps of each row of scores the logarithm of its sum. From that the
backward pass computes the probabilities again, a block of queries at a time, and multiplies in the dtype of the inputs:
the equations of FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691, algorithm 2) as matrix products. Keys and
values that several heads share are not copied.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tunelock.model.sharing import CPU_ATTENTION, JoinRows, SplitRows

QUERIES = 64  # of a block; half of the scores above the diagonal are then never computed


class CausalAttention(torch.autograd.Function):
    """Shapes: query (batch, heads, length, size), key and value (batch, kv_heads, length, size); heads is a multiple of
    kv_heads, and head h sees the keys of h // (heads // kv_heads). The result has the shape of query.
    """

    @staticmethod
    def forward(ctx, query, key, value, scale):
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        result, log_sums = kernel(query, key, value, 0.0, True, scale=scale)
        ctx.save_for_backward(query, key, value, result, log_sums)
        ctx.scale = scale
        return result

    @staticmethod
    def backward(ctx, grad):
        query, key, value, result, log_sums = ctx.saved_tensors
        batch, kv_heads, length, size = key.shape
        pairs, group = batch * kv_heads, query.shape[1] // kv_heads

        def by_group(tensor: torch.Tensor) -> torch.Tensor:  # the heads that share keys side by side
            return tensor.reshape(pairs, group, length, -1)

        def rows(tensor: torch.Tensor) -> torch.Tensor:  # of a block: its queries of all those heads
            return tensor[:, :, start:stop].reshape(pairs, -1, tensor.shape[-1])

        queries, grads = by_group(query * ctx.scale), by_group(grad)
        sums, means = by_group(log_sums), by_group((grad * result).sum(-1, dtype=torch.float32))
        keys, values = key.reshape(pairs, length, size), value.reshape(pairs, length, size)
        grad_query = query.new_empty(pairs, group, length, size)
        grad_key, grad_value = (torch.zeros(pairs, length, size) for _ in range(2))
        for start in range(0, length, QUERIES):
            stop = min(start + QUERIES, length)
            seen_keys, seen_values, asked, wanted = keys[:, :stop], values[:, :stop], rows(queries), rows(grads)
            shares = (asked @ seen_keys.transpose(1, 2)).float().sub_(rows(sums)).exp_()
            hidden = torch.ones(stop - start, stop - start, dtype=torch.bool).triu(1)
            shares.view(pairs, group, stop - start, stop)[..., start:].masked_fill_(hidden, 0.0)
            grad_value[:, :stop] += shares.to(grad.dtype).transpose(1, 2) @ wanted
            grad_scores = (wanted @ seen_values.transpose(1, 2)).float().sub_(rows(means)).mul_(shares).to(grad.dtype)
            grad_query[:, :, start:stop] = (grad_scores @ seen_keys).view(pairs, group, stop - start, size)
            grad_key[:, :stop] += grad_scores.transpose(1, 2) @ asked
        grad_query = grad_query.mul_(ctx.scale).view_as(query)
        return grad_query, *(tensor.to(key.dtype).view_as(key) for tensor in (grad_key, grad_value)), None


def compute_attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, joint=None, **kwargs):
    """Transformers' interface; whatever is not plain causal attention in training goes the usual way.

    `joint` is the layout of a batch whose rows were joined (`tunelock.model.sharing`); they are taken apart for it.
    """
    if joint:
        apart = (SplitRows.apply(tensor[0].transpose(0, 1), joint).transpose(1, 2) for tensor in (query, key, value))
        result, _ = compute_attention(module, *apart, None, dropout, scaling, **kwargs)
        return JoinRows.apply(result, joint)[None], None
    plain = attention_mask is None and query.shape[2] == key.shape[2] and torch.is_grad_enabled()
    causal = getattr(module, "is_causal", True) is True and not dropout and value.shape == key.shape
    if not (plain and causal):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast rotary positions leave them in float32
    return CausalAttention.apply(query, key, value, scale).transpose(1, 2).contiguous(), None


AttentionInterface.register(CPU_ATTENTION, compute_attention)
AttentionMaskInterface.register(CPU_ATTENTION, sdpa_mask)


def use_cpu_attention(model: PreTrainedModel) -> bool:
    """Have a model on the CPU that computes attention by SDPA train with this one; whether it does."""
    fits = model.device.type == "cpu" and model.config._attn_implementation == "sdpa"
    if fits:
        model.set_attn_implementation(CPU_ATTENTION)
    return fits
