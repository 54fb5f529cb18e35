"""How many positions a model has learnt, and whether rows and answers stay within them."""

import math
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from transformers import PretrainedConfig, PreTrainedModel

from tunelock.model.tuned import unwrap_model
from tunelock.run.errors import Stop

if TYPE_CHECKING:
    from peft import PeftConfig  # whose import takes seconds that `base` and `evaluate` need not wait

TABLES = re.compile("pos|wpe")  # in the names of embeddings of positions: GPT-2's is `wpe`
COMPUTED = re.compile("Rotary|Sinusoidal")  # in the names of classes that compute positions, however many there are


class _Positions(NamedTuple):
    """How far a model counts.

    `number` is None where nothing in it counts positions, as in Mamba or BLOOM. `fixed`: they stand in a table, so that
    there are no others; else they are computed, and the model has merely not been trained beyond. `unscaled` is how
    many there were before its rotary positions were scaled, None where they were not.
    """

    number: int | None
    fixed: bool = False
    unscaled: int | None = None

    def describe(self) -> str:
        """A phrase for people."""
        if self.number is None:
            return "it counts no positions"
        if self.fixed:
            return f"it has learnt {self.number} positions, and there are no others"
        scaled = f", {self.unscaled} before they were scaled" if self.unscaled else ""
        return f"it was made for {self.number} positions{scaled}"


def find_positions(model: torch.nn.Module) -> _Positions:
    """The positions of a model, with or without an adapter, by its config and its modules."""
    bare = unwrap_model(model)
    config = bare.config.get_text_config()
    stated = getattr(config, "max_position_embeddings", None)
    if stated is None:  # MPT makes its ALiBi for so many
        length = getattr(config, "max_seq_len", None)
        return _Positions(length, fixed=length is not None)
    if _has_table(bare):
        return _Positions(stated, fixed=True)
    computed = any(COMPUTED.search(type(module).__name__) for module in bare.modules())
    if not computed or getattr(config, "alibi", False):
        return _Positions(None)
    original = _read_original(config)
    count = max([stated, *(int(length * factor) for length, factor in original)])
    before = min((length for length, _ in original), default=count)
    return _Positions(count, unscaled=before if before < count else None)


def _has_table(model: PreTrainedModel) -> bool:
    """Whether positions are looked up: in embeddings beside those of the tokens, or in a buffer as in GPT-J."""
    tokens = model.get_input_embeddings()
    for name, module in model.named_modules():
        looks_up = isinstance(module, torch.nn.Embedding) and module is not tokens
        if looks_up and TABLES.search(name.rpartition(".")[2]):
            return True
    return any(name.endswith("embed_positions") for name, _ in model.named_buffers())


def _read_original(config: PretrainedConfig) -> list[tuple[int, float]]:
    """Of each kind of scaled rotary positions: how many there were, and by what they were stretched."""
    ropes = getattr(config, "rope_parameters", None) or {}
    found = []
    for rope in [ropes, *(value for value in ropes.values() if isinstance(value, dict))]:  # Gemma 3 has two kinds
        if rope.get("original_max_position_embeddings"):
            found.append((rope["original_max_position_embeddings"], rope.get("factor") or 1.0))
    return found


def count_room(model: torch.nn.Module, adapter: "PeftConfig | None" = None) -> float:
    """How many tokens a model has positions for, behind its soft prompt or that of the `adapter` to come; infinity
    where it counts none.
    """
    count, soft = find_positions(model).number, adapter or getattr(model, "active_peft_config", None)
    return math.inf if count is None else count - (getattr(soft, "num_virtual_tokens", None) or 0)


def check_positions(
    model: torch.nn.Module, max_length: int, prompts: Sequence[list[int]] = (), max_new_tokens: int = 0,
    adapter: "PeftConfig | None" = None,
) -> None:  # fmt: skip
    """Check that rows of up to `max_length` tokens, and answers to prompts (token ids), stay within the positions.

    A soft prompt, of the model or of the `adapter` to come, stands before them all. Beyond computed positions a line on
    stderr warns: answers get worse there.

    Raises:
        Stop: the model has no such positions.
    """
    found, left = find_positions(model), count_room(model, adapter)
    asked = max(map(len, prompts)) + max_new_tokens - 1 if prompts else 0  # the last token is not put in again
    if max_length > left:
        _object(found, f"max_length is {max_length}", f"set it to {left} at most")
    elif asked > left:
        reason = f"the longest prompt and max_new_tokens {max_new_tokens} take {asked} positions"
        _object(found, reason, f"lower max_new_tokens or max_length by {asked - left}")


def _object(found: _Positions, reason: str, advice: str) -> None:
    """Stop at a table of positions, warn where they are computed."""
    if found.fixed:
        raise Stop(f"{reason}, but the model has learnt {found.number} positions and has no others; {advice}.")
    print(f"warning: {reason}, but the model was made for {found.number} positions; {advice}.", file=sys.stderr)
