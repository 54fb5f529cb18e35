"""What all rows of a batch begin with, such as the system prompt, is computed once for all of them.

A batch becomes one sequence: its shared start, and behind it the rest of each row. The rests do not see each other, and
each counts its positions on from the start, so every token sees what it would see in its row alone (as in the tree
attention of SpecInfer, Miao et al. 2023, https://arxiv.org/abs/2305.09781), and the gradients are the same sums.
"""

import inspect

import torch
from transformers import PreTrainedModel

from stages.lib.training.tuned import has_soft_prompt, hidden_states, plain


def joint_states(model: torch.nn.Module, input_ids: torch.Tensor) -> torch.Tensor:
    """`tuned.hidden_states` of a model that `can_share`, shape (rows, length, features); quicker, though, with
    `cpu_attention` alone: another one computes what the rests do not see of each other before it is masked.
    """
    shared = shared_start(input_ids)
    if not shared:
        return hidden_states(model, input_ids)
    sequence = plain(model).get_decoder()(**joint_inputs(input_ids, shared), use_cache=False).last_hidden_state
    return apart(sequence, len(input_ids), shared)


def shared_start(input_ids: torch.Tensor) -> int:
    """How many tokens all rows of input_ids (rows, length) begin with, 0 for one row; never all `length`."""
    same = (input_ids[:, :-1] == input_ids[:1, :-1]).all(0)
    return int(same.long().cumprod(0).sum()) if len(input_ids) > 1 else 0


def together(batch: torch.Tensor, shared: int) -> torch.Tensor:
    """(rows, length, …) to (1, shared + rows x rest, …): the first row's start, and the rest of each row."""
    start, rests = batch.split([shared, batch.shape[1] - shared], dim=1)  # slices would take more passes backward
    return torch.cat([start[0], rests.flatten(0, 1)])[None]


def apart(sequence: torch.Tensor, rows: int, shared: int) -> torch.Tensor:
    """What `together` joined, as (rows, length, …) again."""
    start, rests = sequence.split([shared, sequence.shape[1] - shared], dim=1)
    return torch.cat([start.expand(rows, *start.shape[1:]), rests[0].unflatten(0, (rows, -1))], dim=1)


def joint_inputs(input_ids: torch.Tensor, shared: int) -> dict:
    """What a decoder is given in place of input_ids (rows, length): the sequence, its positions and its mask; and, for
    `cpu_attention`, how many rows there are and what they share.
    """
    rows, length = input_ids.shape
    places = torch.arange(length, device=input_ids.device).expand(rows, -1)
    owners = torch.arange(rows, device=input_ids.device)[:, None].expand(-1, length) + 1
    positions, owners = together(places, shared), together(owners, shared)
    owners[:, :shared] = 0
    seen = (owners[:, None, :] == 0) | (owners[:, None, :] == owners[:, :, None])
    causal = positions[:, None, :] <= positions[:, :, None]
    return {
        "input_ids": together(input_ids, shared),
        "position_ids": positions,
        "attention_mask": (seen & causal)[:, None],
        "joint": (rows, shared),
    }


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether training leaves some out by chance, which joint rows would do alike."""
    attention = getattr(plain(model).config.get_text_config(), "attention_dropout", 0.0)
    return bool(attention) or any(module.p for module in model.modules() if isinstance(module, torch.nn.Dropout))


def can_share(model: torch.nn.Module) -> bool:
    """Whether the model takes a mask of our own: all its layers attend to everything before, by PyTorch's SDPA, and
    its positions are given from outside. Others compute each row by itself.
    """
    bare = plain(model)
    config = bare.config.get_text_config()
    full = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    sliding = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    takes = {"attention_mask", "position_ids"} <= set(inspect.signature(bare.get_decoder().forward).parameters)
    sdpa = bare.config._attn_implementation == "sdpa"
    return bool(full and not sliding and takes and sdpa and not has_soft_prompt(model)) and keeps_apart(bare)


@torch.no_grad()
def keeps_apart(model: PreTrainedModel) -> bool:
    """Whether joint rows come out as they do side by side, tried on a few tokens.

    What a config does not tell, such as layers that carry a state along, shows here: hidden states then differ by more
    than a tenth, where rounding to bfloat16 makes a hundredth.
    """
    ids, shared = torch.tensor([[1, 2, 3, *range(4, 12)], [1, 2, 3, *range(12, 20)]], device=model.device), 3
    decoder = model.get_decoder()
    try:
        wanted = decoder(input_ids=ids, use_cache=False).last_hidden_state.float()
        found = decoder(**joint_inputs(ids, shared), use_cache=False).last_hidden_state.float()
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    found, wanted = (states[:, shared:] for states in (apart(found, 2, shared), wanted))
    return bool((found - wanted).norm() < 0.1 * wanted.norm())
