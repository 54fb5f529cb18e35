"""PEFT's LoRA settings for a model, and the layers of it that they mean."""

import re
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunelock.model.methods.added_tokens import read_added_tokens
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.run.errors import Stop

# The last part of the names of layers that make queries or values; a layer that makes both, and keys, is among them.
QUERY_OR_VALUE = re.compile(r"w?(q|v|kv|qkv)(_.*)?|query|value|query_key_value|c_attn", re.IGNORECASE)


def make_lora_config(folder: Path | str, settings: MethodSettings) -> LoraConfig:
    """PEFT's LoRA settings for the model in `folder`.

    `lora_alpha=None` means `2 * lora_r`. `lora_target_modules` is `all-linear` (every linear layer but the head, gates
    of one number, routers, and what kernels of state space models read past an adapter),
    `attention` (those of the attention), `attention-qv` (those that make queries and values) or a list of module
    names. The embeddings of added tokens, and their rows of the head, are trained whole.

    Raises:
        Stop: the model has no such layers or no bias, or `lora_r` exceeds the smaller side of a targeted layer, or the
            head has a bias where its rows of added tokens are to be trained.
    """
    model, rank, wanted = _build_skeleton(folder), settings.lora_r, settings.lora_target_modules
    targets = _find_targets(model, wanted, folder)
    _check_rank(rank, targets)
    _check_bias(settings.bias, model, targets, folder)
    named = isinstance(wanted, list) or wanted == "all-linear"
    linear = _list_linear_layers(model).keys()
    left_out = linear - targets if wanted == "all-linear" else linear & _list_unseen_layers(model)
    tokens = read_added_tokens(folder)
    if tokens and getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise Stop(
            f"the head of the model in {folder} has a bias, which PEFT leaves out where it trains the rows of "
            f"extra_special_tokens; set them to [] or method to full."
        )
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank if settings.lora_alpha is None else settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=wanted if named else sorted({_last_two_parts(name) for name in targets}),
        exclude_modules=sorted(left_out) or None,
        bias=settings.bias,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        trainable_token_indices=dict.fromkeys(_vocabulary_layers(model), tokens) if tokens else None,
        task_type="CAUSAL_LM",
    )


def _check_rank(rank: int, targets: dict[str, int]) -> None:
    """Stop if a targeted layer cannot have that rank."""
    name, smallest = min(targets.items(), key=lambda item: item[1])
    if rank > smallest:
        raise Stop(f"lora_r is {rank}, but '{name}' of the base model has rank {smallest} at most; lower lora_r.")


def _check_bias(bias: str, model: PreTrainedModel, targets: dict[str, int], folder: Path | str) -> None:
    """Stop if biases are to be trained and there are none."""
    biased = [name.removesuffix(".bias") for name, _ in model.named_parameters() if name.endswith(".bias")]
    if bias == "lora_only":
        biased = [name for name in biased if name in targets]
    if bias != "none" and not biased:
        raise Stop(f"bias is '{bias}', but the layers of the model in {folder} have none; set it to none.")


def _build_skeleton(folder: Path | str) -> PreTrainedModel:
    """The model in `folder` without its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))


def _list_linear_layers(model: PreTrainedModel) -> dict[str, int]:
    """The linear layers of a model without its head, each with its largest possible rank."""
    head, found = model.get_output_embeddings(), {}
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head:
            found[name] = min(module.weight.shape)
    return found


def _find_targets(model: PreTrainedModel, wanted: str | list[str], folder: Path | str) -> dict[str, int]:
    """The linear layers that `lora_target_modules` means, with their ranks; `Stop` names what there is otherwise."""
    unseen = _list_unseen_layers(model)
    layers = {name: rank for name, rank in _list_linear_layers(model).items() if name not in unseen}
    ends = {name: name.rpartition(".")[2] for name in layers}
    if isinstance(wanted, list):
        unknown: str | list[str] = [name for name in wanted if name not in ends.values()]
        found = [] if unknown else [name for name in layers if ends[name] in wanted]
    else:
        unknown = wanted
        found = [name for name, rank in layers.items() if rank > 1]
        found = found if wanted == "all-linear" else _find_attention(model, found)
    if wanted == "attention-qv":
        found = [name for name in found if QUERY_OR_VALUE.fullmatch(ends[name])]
    if not found:
        raise Stop(
            f"lora_target_modules names {unknown}, the model in {folder} has {sorted(set(ends.values()))}; "
            "choose among them."
        )
    return {name: layers[name] for name in found}


def _list_unseen_layers(model: PreTrainedModel) -> set[str]:
    """The layers that no adapter can stand beside.

    The kernels of a state space model read weights themselves: only what leads into such a module is called. It is
    known by its convolution and the `D` that skips the state. And a router, such as PhiMoE's, may be a linear layer by
    its class and return more than one tensor.
    """
    found: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not _gives_one_tensor(module):
            found.add(name)
        if hasattr(module, "conv1d") and hasattr(module, "D"):
            found |= {f"{name}.{child}" for child, _ in module.named_children() if child != "in_proj"}
    return found


def _gives_one_tensor(layer: torch.nn.Linear) -> bool:
    if type(layer).forward is torch.nn.Linear.forward:
        return True
    return torch.is_tensor(layer(layer.weight.new_empty(1, 1, layer.in_features)))


def _find_attention(model: PreTrainedModel, layers: list[str]) -> list[str]:
    """Those of the layers that belong to an attention module."""
    attention = [f"{name}." for name, module in model.named_modules() if "Attention" in type(module).__name__]
    return [name for name in layers if name.startswith(tuple(attention))]


def _last_two_parts(name: str) -> str:
    """The last two parts of a layer's name: GPT-2 has a `c_proj` in the attention and one outside."""
    return ".".join(name.split(".")[-2:])


def _vocabulary_layers(model: PreTrainedModel) -> list[str]:
    """The names of the embeddings and of a head of its own; PEFT follows a head that is tied to the embeddings."""
    layers = [id(model.get_input_embeddings())]
    if not model.config.get_text_config().tie_word_embeddings:
        layers.append(id(model.get_output_embeddings()))
    return [name for name, module in model.named_modules() if id(module) in layers]
