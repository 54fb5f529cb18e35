"""A model with or without an adapter, run alike: hidden states, the start of an answer, loading after the merge.

LoRA's layers sit inside the model. A soft prompt stands before the tokens: as embeddings (prompt tuning, p-tuning) or
as keys and values of each layer (prefix tuning). Only this module knows the difference.
"""

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, PreTrainedModel

from tunelock.model.modeling import load_model
from tunelock.run.errors import Stop

BASE = "base"  # the folder of the base beside a soft prompt
ADAPTER_CONFIG = "adapter_config.json"
ENCODER = "prompt_encoder.safetensors"
# For `generate`, to write what is likeliest whatever the settings beside the model say; some have a penalty.
GREEDY: dict[str, Any] = {"do_sample": False, "repetition_penalty": 1.0}


def unwrap_model(model: torch.nn.Module) -> PreTrainedModel:
    """The Transformers model below an adapter, LoRA's layers included, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def has_soft_prompt(model: torch.nn.Module) -> bool:
    """Whether a soft prompt stands before the tokens."""
    return hasattr(model, "get_base_model") and model.active_peft_config.is_prompt_learning


def compute_hidden_states(
    model: torch.nn.Module, input_ids: torch.Tensor, position_ids: torch.Tensor | None = None
) -> torch.Tensor:
    """The last hidden state of each token, shape (rows, length, features), for input_ids (rows, length).

    Rows are padded on the right, where causal attention cannot see the padding, so there is no mask. Packed rows come
    with `position_ids`, which start anew with each row.

    Raises:
        Stop: packed rows and a soft prompt, which would stand before the first of them alone.
    """
    decoder = unwrap_model(model).get_decoder()
    if not has_soft_prompt(model):
        packed = {} if position_ids is None else {"position_ids": position_ids}
        return decoder(input_ids=input_ids, use_cache=False, **packed).last_hidden_state
    if position_ids is not None:
        raise Stop("packing: a soft prompt would stand before the first of the packed rows alone; set it to false.")
    prompt = model.get_prompt(batch_size=len(input_ids))
    if isinstance(prompt, torch.Tensor):
        tokens = unwrap_model(model).get_input_embeddings()(input_ids)
        front = {"inputs_embeds": torch.cat([prompt.to(tokens.dtype), tokens], dim=1)}
    else:
        front = {"input_ids": input_ids, "past_key_values": prompt}
    return decoder(**front, use_cache=False).last_hidden_state[:, -input_ids.shape[1] :]


def prepare_generation(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> tuple[dict, int]:
    """What `unwrap_model(model).generate` starts from, and how many tokens stand before the answer in what it returns.

    `ids` and `mask`, both (rows, length), are prompts padded on the left. PEFT's own `generate` puts a soft prompt
    before the padding and counts positions through it, so that answers would depend on the longest prompt of a batch.
    """
    rows, length = ids.shape
    if not has_soft_prompt(model):
        return {"input_ids": ids, "attention_mask": mask}, length
    prompt, virtual = model.get_prompt(batch_size=rows), model.active_peft_config.num_virtual_tokens
    longer = mask.new_ones(rows, virtual)
    if not isinstance(prompt, torch.Tensor):
        seen = ids.new_zeros(rows, virtual)  # places of the keys and values, never looked up
        given = {"input_ids": torch.cat([seen, ids], 1), "attention_mask": torch.cat([longer, mask], 1)}
        return given | {"past_key_values": prompt}, virtual + length
    tokens, padding = unwrap_model(model).get_input_embeddings()(ids), (mask == 0).sum(1).tolist()
    rows = [torch.cat([row[:pad], soft, row[pad:]]) for row, soft, pad in zip(tokens, prompt.to(tokens.dtype), padding)]
    return {"inputs_embeds": torch.stack(rows), "attention_mask": torch.cat([mask, longer], 1)}, 0


@contextmanager
def without_input_copies(model: torch.nn.Module):
    """Keep PEFT from copying the input of each layer to the adapter's float32, under autocast, which needs no copy.

    PEFT's own `disable_input_dtype_casting` fails where embeddings of new tokens are trained.
    """
    layers = [layer for layer in model.modules() if getattr(layer, "cast_input_dtype_enabled", False)]
    for layer in layers:
        layer.cast_input_dtype_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.cast_input_dtype_enabled = True


def load_tuned(folder: Path | str, dtype: str) -> torch.nn.Module:
    """A model as `stages.merge` leaves it: a plain folder, or a soft prompt with its base in the folder below it."""
    if not Path(folder, ADAPTER_CONFIG).exists():
        return load_model(folder, dtype)
    from peft import PeftModel  # takes a second that models without a soft prompt need not wait

    return PeftModel.from_pretrained(load_model(Path(folder, BASE), dtype), folder)


def read_generation_settings(folder: Path | str) -> GenerationConfig:
    """The generation settings of a model that `load_tuned` loads, without its weights."""
    base = Path(folder, BASE)
    return GenerationConfig.from_pretrained(base if Path(folder, ADAPTER_CONFIG).exists() else folder)


def save_soft_prompt(adapter: Path, base: Path, folder: Path) -> None:
    """Write what `load_tuned` reads. The base lies below, so that nothing loads it without its prompt by mistake."""
    shutil.copytree(base, folder / BASE)
    for name in (ADAPTER_CONFIG, "adapter_model.safetensors"):
        shutil.copyfile(adapter / name, folder / name)


def save_encoder(model: torch.nn.Module, folder: Path) -> None:
    """Add to a checkpoint what makes a soft prompt: of p-tuning's network PEFT saves the output alone."""
    if has_soft_prompt(model):
        save_file(model.prompt_encoder.state_dict(), folder / ENCODER)


def load_encoder(model: torch.nn.Module, folder: Path) -> None:
    """Go on from what `save_encoder` wrote; call it after PEFT has loaded the checkpoint."""
    if has_soft_prompt(model):
        model.prompt_encoder.load_state_dict(load_file(folder / ENCODER))
