"""Only the tokens of a batch that matter are computed, and what its rows begin with, such as a system prompt, once.

A batch becomes one sequence: its shared start, and behind it the rest of each row up to its last label, without
padding. The rests do not see each other, and each counts its positions on from the start, so every token sees what it
would see in its row alone (as in the tree attention of SpecInfer, Miao et al. 2023, https://arxiv.org/abs/2305.09781),
and the gradients are the same sums.
"""

import inspect
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from tunelock.model.trials import choose_few_tokens, come_out_alike
from tunelock.model.tuned import compute_hidden_states, has_soft_prompt, unwrap_model
from tunelock.rendering.conversation import IGNORE

CPU_ATTENTION = "cpu_training"  # `tunelock.training.kernels.cpu_attention`, which goes by a layout in place of a mask


class _Layout(NamedTuple):
    """Where the tokens of a batch of (rows, length) lie in the sequence.

    `places` (rows x length,) says of each token of the batch where it is in the sequence, 0 for those left out; `rests`
    of each token of the sequence behind the `shared` ones where it is in the batch, row after row.
    """

    rows: int
    length: int
    shared: int
    places: torch.Tensor
    rests: torch.Tensor


def lay_out_batch(input_ids: torch.Tensor, labels: torch.Tensor) -> _Layout:
    """The layout of a batch, both (rows, length): what has no label after it is left out, for nothing looks at it."""
    (rows, length), device = input_ids.shape, input_ids.device
    count = torch.arange(length, device=device)
    ends = ((labels != IGNORE) * count).amax(1).clamp(min=1)  # a label is predicted from the token before it
    alike = (input_ids == input_ids[:1]).all(0).long().cumprod(0).sum() if rows > 1 else 0
    shared = min(int(alike), int(ends.min()))
    rests = ((count >= shared) & (count < ends[:, None])).flatten().nonzero()[:, 0]
    places = torch.where(count < shared, count, 0).repeat(rows)
    places[rests] = torch.arange(shared, shared + len(rests), device=device)
    return _Layout(rows, length, shared, places, rests)


class SplitRows(torch.autograd.Function):
    """A sequence (tokens, …) as the batch (rows, length, …); what was left out is like the first token."""

    @staticmethod
    def forward(ctx, sequence, where):
        ctx.where = where
        return sequence.index_select(0, where.places).unflatten(0, (where.rows, where.length))

    @staticmethod
    def backward(ctx, grad):
        where = ctx.where
        return torch.cat([grad[:, : where.shared].sum(0), grad.flatten(0, 1).index_select(0, where.rests)]), None


class JoinRows(torch.autograd.Function):
    """A batch (rows, length, …) as the sequence (tokens, …); the shared start is that of the first row."""

    @staticmethod
    def forward(ctx, batch, where):
        ctx.where = where
        return torch.cat([batch[0, : where.shared], batch.flatten(0, 1).index_select(0, where.rests)])

    @staticmethod
    def backward(ctx, grad):
        where = ctx.where
        batch = grad.new_zeros(where.rows * where.length, *grad.shape[1:])
        batch[: where.shared] = grad[: where.shared]
        batch.index_copy_(0, where.rests, grad[where.shared :])
        return batch.unflatten(0, (where.rows, where.length)), None


def compute_joint_states(model: torch.nn.Module, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`compute_hidden_states` of a model that `can_share`, shape (rows, length, features), right where a label follows.

    Quicker with `cpu_attention` alone: another one computes what the rests do not see of each other and masks it.
    """
    where, bare = lay_out_batch(input_ids, labels), unwrap_model(model)
    given = build_joint_inputs(input_ids, where, bare.config._attn_implementation)
    return SplitRows.apply(bare.get_decoder()(**given, use_cache=False).last_hidden_state[0], where)


def build_joint_inputs(input_ids: torch.Tensor, where: _Layout, attention: str) -> dict:
    """What a decoder with that attention is given in place of input_ids (rows, length): the sequence, its positions,
    and its mask or layout.
    """
    positions = torch.arange(where.length, device=input_ids.device).expand(where.rows, -1)
    ids, positions = (JoinRows.apply(batch, where)[None] for batch in (input_ids, positions))
    given = {"input_ids": ids, "position_ids": positions}
    if attention == CPU_ATTENTION:  # any mask of four dimensions keeps transformers from making one of all tokens
        return given | {"attention_mask": where.rests.new_ones(1, 1, 1, 1).bool(), "joint": where}
    owners = torch.cat([where.rests.new_zeros(where.shared), where.rests // where.length + 1])
    return given | {"attention_mask": build_row_mask(owners[None])}


def build_row_mask(owners: torch.Tensor) -> torch.Tensor:
    """Which tokens each token of joint sequences sees, shape (sequences, 1, length, length): of those before it, the
    shared ones and its own row's. `owners` (sequences, length) says which row a token belongs to, 0 for all.
    """
    seen = (owners[:, None, :] == 0) | (owners[:, None, :] == owners[:, :, None])
    return seen.tril()[:, None]


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether training leaves some out by chance, which joint rows would do alike."""
    attention = getattr(unwrap_model(model).config.get_text_config(), "attention_dropout", 0.0)
    return bool(attention) or any(module.p for module in model.modules() if isinstance(module, torch.nn.Dropout))


def can_share(model: torch.nn.Module) -> bool:
    """Whether the model takes a mask or layout of our own: all its layers attend to everything before, by PyTorch's
    SDPA or `cpu_attention`, and its positions are given from outside. Others compute each row by itself.
    """
    bare = unwrap_model(model)
    config = bare.config.get_text_config()
    full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    sliding = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    takes = {"attention_mask", "position_ids"} <= set(inspect.signature(bare.get_decoder().forward).parameters)
    masked = bare.config._attn_implementation in ("sdpa", CPU_ATTENTION)
    return bool(full and not sliding and takes and masked and not has_soft_prompt(model)) and keeps_rows_apart(bare)


def keeps_rows_apart(model: PreTrainedModel) -> bool:
    """Whether joint rows come out as they do side by side: layers that carry a state along do not show in a config."""
    few, decoder = choose_few_tokens(model), model.get_decoder()
    ids = torch.stack([few[:11], torch.cat([few[:3], few[11:]])])
    where = lay_out_batch(ids, ids)
    given = build_joint_inputs(ids, where, model.config._attn_implementation)

    def compute_joint() -> torch.Tensor:
        states = decoder(**given, use_cache=False).last_hidden_state
        return SplitRows.apply(states[0], where)[:, where.shared : -1]

    return come_out_alike(model, compute_joint, lambda: compute_hidden_states(model, ids)[:, where.shared : -1])
