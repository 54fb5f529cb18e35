"""What a preset says for a method and a size of model, each value with where it comes from.

`conservative` moves the model little and forgets little, `balanced` is what the guides begin with, `aggressive` fits
the data hard. They are places to start: the validation loss decides.
"""

from typing import Any, NamedTuple

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method import Method


class _Size(NamedTuple):
    """LoRA's values for models with fewer than `below` parameters, in the middle preset."""

    below: float
    lora_r: int
    batch: int
    accumulation: int
    learning_rate: float
    max_length: int


# 7B and 13B at 2e-4, above at 1e-4, 16 rows a step as 4 x 4, rank 64 for the largest: QLoRA (Dettmers et al. 2023,
# https://arxiv.org/abs/2305.14314, table 9; scripts/finetune_guanaco_*.sh of artidoro/qlora). Rank 16 at 7B:
# alignment-handbook, recipes/zephyr-7b-beta/sft/config_qlora.yaml. The smallest: this repository's default job. From
# there the rate falls with the size (LoRA Without Regret, Schulman et al. 2025: small models want larger ones).
SIZES = (
    _Size(1e9, 16, 8, 1, 1e-3, 512),
    _Size(4e9, 16, 8, 2, 3e-4, 1024),
    _Size(11e9, 16, 4, 4, 2e-4, 2048),
    _Size(30e9, 32, 2, 8, 2e-4, 2048),
    _Size(float("inf"), 64, 1, 16, 1e-4, 2048),
)
ON_GPU = 4e9  # parameters from which memory decides: activations are recomputed, optimiser states are paged


class _Preset(NamedTuple):
    """How a preset differs from the values of the size."""

    rank: float  # times the rank
    scale: int  # lora_alpha / lora_r
    rate: float  # times the learning rate
    accumulation: int  # times the accumulated batches: a step of more rows is steadier
    dropout: float
    epochs: int
    targets: str
    weight_decay: float
    warmup: float  # share of the steps
    virtual_tokens: int
    frozen: float  # full: share of the layers
    freeze_embeddings: bool


# Dropout 0.1 up to 13B and 0.05 above: QLoRA, table 9. Alpha of 1 to 2 times the rank, 1 to 3 epochs, weight decay
# 0.01, 5 to 10 % warm-up: Unsloth's guide (https://docs.unsloth.ai/get-started/beginner-start-here/lora-hyperparameters-guide).
# Half as fast again is torchtune's 3e-4 for 8B. All linear layers learn more, attention alone forgets less (Biderman et
# al. 2024, https://arxiv.org/abs/2405.09673). 20 virtual tokens, 100 as the upper end: Lester et al. 2021,
# https://arxiv.org/abs/2104.08691.
PRESETS = {
    "conservative": _Preset(0.5, 1, 0.5, 2, 0.1, 1, "attention", 0.01, 0.1, 10, 0.5, True),
    "balanced": _Preset(1, 2, 1.0, 1, 0.05, 2, "all-linear", 0.01, 0.05, 20, 0.0, True),
    "aggressive": _Preset(2, 2, 1.5, 1, 0.0, 3, "all-linear", 0.0, 0.03, 100, 0.0, False),
}


def choose_preset_params(
    name: str, method: str, parameters: float, layers: int | None, context: int | None
) -> dict[str, Any]:
    """The params that depend on preset, method and model, ready for `params.yaml`.

    Args:
        parameters: weights of the model. layers, context: None where they are not known; then no layer is frozen and
            `max_length` is that of the size.
    """
    preset, size, chosen = PRESETS[name], _find_size(parameters), METHODS[method]
    own, large = chosen.preset, parameters >= ON_GPU
    crowded = chosen.trains_whole_model and large  # 16 bytes a weight leave room for one row
    values = {
        "dtype": "bfloat16",  # QLoRA's authors saw one run in five fail in float16 (README of artidoro/qlora)
        "max_length": min(size.max_length, context or size.max_length),
        "method": method,
        "use_rslora": False,  # the alphas here are meant for alpha / r
        "freeze_layers": int(preset.frozen * (layers or 0)) if chosen.trains_whole_model else 0,
        "unfreeze_schedule": None,
        "num_train_epochs": preset.epochs * own.epochs,
        "per_device_train_batch_size": 1 if crowded else size.batch,
        "gradient_accumulation_steps": size.accumulation * preset.accumulation * (size.batch if crowded else 1),
        "gradient_checkpointing": large and chosen.allows_checkpointing,
        "optim": own.optim_of_large_models if large else "adamw_torch",
        "learning_rate": _choose_learning_rate(chosen, preset, size),
        "warmup_steps": preset.warmup,
        "weight_decay": preset.weight_decay,
        "max_grad_norm": own.max_grad_norm,
    }
    options = _choose_options(preset, size)
    return values | {key: options[key] for key in own.params}


def _find_size(parameters: float) -> _Size:
    """The first of the sizes that such a model is below."""
    return next(size for size in SIZES if parameters < size.below)


def _choose_learning_rate(method: Method, preset: _Preset, size: _Size) -> float:
    """The rate of the method or of the size, changed by the preset; to two digits."""
    rate = method.preset.learning_rate or size.learning_rate * method.preset.share_of_rate
    return float(f"{rate * preset.rate:.1e}")


def _choose_options(preset: _Preset, size: _Size) -> dict[str, Any]:
    """The params of which each method names its own, LoRA's options switched off for the others."""
    rank = int(size.lora_r * preset.rank)
    return {
        "lora_r": rank,
        "lora_alpha": rank * preset.scale,
        "lora_dropout": preset.dropout if size.below < float("inf") else preset.dropout / 2,  # half above 13B, as QLoRA
        "lora_target_modules": preset.targets,
        "bnb_4bit_use_double_quant": True,
        "use_dora": False,
        "bias": "none",
        "freeze_embeddings": preset.freeze_embeddings,
        "num_virtual_tokens": preset.virtual_tokens,
        "packing": False,
    }
