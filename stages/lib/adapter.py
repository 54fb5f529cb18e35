"""The LoRA adapter: its PEFT configuration and its fit with the base model."""

from pathlib import Path

import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM

from stages.lib.errors import Stop

LORA_PARAMS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


def lora_config(
    folder: Path | str, lora_r: int, lora_alpha: float | None, lora_dropout: float, lora_target_modules: str | list[str]
) -> LoraConfig:
    """PEFT's LoRA settings for the model in `folder` (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    `lora_alpha=None` means `2 * lora_r`. `lora_target_modules` is `all-linear` (every linear layer but the head) or a
    list of module names.

    Raises:
        Stop: a target module is not in the model, or `lora_r` exceeds the smaller side of a targeted layer.
    """
    layers = linear_layers(folder)
    targets = layers if lora_target_modules == "all-linear" else pick(layers, lora_target_modules, folder)
    name, smallest = min(targets.items(), key=lambda item: item[1])
    if lora_r > smallest:
        raise Stop(f"lora_r is {lora_r}, but '{name}' of the base model has rank {smallest} at most; lower lora_r.")
    return LoraConfig(
        r=lora_r,
        lora_alpha=2 * lora_r if lora_alpha is None else lora_alpha,
        lora_dropout=lora_dropout,
        target_modules=lora_target_modules,
        task_type="CAUSAL_LM",
    )


def linear_layers(folder: Path | str) -> dict[str, int]:
    """The linear layers of a model without its head, each with its largest possible rank; no weight is loaded."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    head = model.get_output_embeddings()
    return {
        name: min(module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def pick(layers: dict[str, int], wanted: list[str], folder: Path | str) -> dict[str, int]:
    """The layers whose last name is in `wanted`; `Stop` names those that no layer has."""
    names = {name.rpartition(".")[2] for name in layers}
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise Stop(
            f"lora_target_modules names {unknown}, the model in {folder} has {sorted(names)}; choose among them."
        )
    return {name: rank for name, rank in layers.items() if name.rpartition(".")[2] in wanted}
