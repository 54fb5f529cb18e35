"""What we rely on in a model is tried on a few tokens first: a config does not say all of it.

Hidden states of the same tokens are computed in two ways that should give the same but for rounding.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from tunelock.model.losses import apply_head
from tunelock.model.tuned import compute_hidden_states, unwrap_model
from tunelock.run.errors import Stop

if TYPE_CHECKING:
    from peft import PeftConfig

# Largest relative difference of a token that rounding explains. In bfloat16 it makes 0.04 in SmolLM2-135M; rows that
# see each other make 0.25 and more.
ROUNDING = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}

ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError)  # of a model that does not take its inputs


def check_model(model: PreTrainedModel) -> None:
    """Check that a model reads from left to right, and that we make of its last hidden states the logits that it makes.

    Raises:
        Stop: it does not, so it would learn to copy what comes next, or learn by another loss than its own.
    """
    ids, name = choose_few_tokens(model)[None], type(model).__name__
    half = ids[:, : ids.shape[1] // 2]

    def compute_first_half() -> torch.Tensor:
        return compute_hidden_states(model, ids)[:, : half.shape[1]]

    if not come_out_alike(model, compute_first_half, lambda: compute_hidden_states(model, half)):
        raise Stop(f"{name} looks at tokens that come later, so it cannot write; set another model_name_or_path.")

    def compute_our_logits() -> torch.Tensor:
        head, config = model.get_output_embeddings(), model.config.get_text_config()
        return apply_head(head, config, compute_hidden_states(model, ids))

    if not come_out_alike(model, compute_our_logits, lambda: model(input_ids=ids, use_cache=False).logits):
        raise Stop(f"{name} makes its logits in a way that tunelock does not know; set another model_name_or_path.")


def check_soft_prompt(model: PreTrainedModel, adapter: "PeftConfig") -> None:
    """Check that a model runs behind a soft prompt.

    Raises:
        Stop: it does not, as those that keep a state, and no keys and values for a prefix to stand among.
    """
    from peft import get_peft_model  # which takes seconds that `evaluate` need not wait

    few = choose_few_tokens(model)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            compute_hidden_states(get_peft_model(model, adapter), torch.stack([few, few]))
    except ERRORS as error:
        kind, reason = adapter.peft_type.value.lower().replace("_", " "), str(error).splitlines()[0]
        raise Stop(f"method: {type(model).__name__} takes no {kind} ({reason}); set it to lora.") from None


def check_packing(model: torch.nn.Module) -> None:
    """Check that rows in one sequence, kept apart by their positions alone, come out as they do alone.

    Raises:
        Stop: they do not, as in models that carry a state along or have no use for positions; or a soft prompt would
            stand before the first of them alone.
    """
    one = choose_few_tokens(model)
    rows = torch.stack([one, one.flip(0)])
    packed = torch.cat([rows.flip(0), rows], 1)
    positions = torch.arange(len(one), device=rows.device).repeat(len(rows), 2)

    def compute_packed() -> torch.Tensor:
        return compute_hidden_states(model, packed, positions)[:, len(one) :]

    if not come_out_alike(model, compute_packed, lambda: compute_hidden_states(model, rows)):
        name = type(unwrap_model(model)).__name__
        raise Stop(f"packing: rows in one sequence see each other in {name}; set packing: false.")


def choose_few_tokens(model: torch.nn.Module) -> torch.Tensor:
    """Some common tokens, shape (19,): the first of a vocabulary are often special, and rounding moves them further."""
    bare = unwrap_model(model)
    return torch.arange(1, 20, device=bare.device) * (bare.config.get_text_config().vocab_size // 20)


@torch.no_grad()
def come_out_alike(
    model: torch.nn.Module, compute: Callable[[], torch.Tensor], compute_plainly: Callable[[], torch.Tensor]
) -> bool:
    """Whether two ways to compute with a model, dropout off, give the same of each token, rounding apart.

    An error says no where the plain way has none.
    """
    training = model.training
    model.eval()
    try:
        wanted = compute_plainly()
        try:
            found = compute()
        except ERRORS:
            return False
    finally:
        model.train(training)
    off = torch.linalg.norm(found.float() - wanted.float(), dim=-1) / torch.linalg.norm(wanted.float(), dim=-1)
    return bool(off.max() < ROUNDING[wanted.dtype])
