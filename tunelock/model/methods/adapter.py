"""What each method trains beside the base: its PEFT configuration, and the adapter's fit with the base model."""

import re
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunelock.run.errors import Stop
from tunelock.run.files import read_json

QUANTIZATION = {"qlora": "nf4", "int8": "int8"}  # for `load_model`, by method
ADDED_TOKENS = "added_token_ids.json"  # in a base folder: {"ids": [...]}, the tokens whose embeddings are new
PEFT_PARAMS = (
    "method", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "bias", "use_rslora", "use_dora",
    "num_virtual_tokens",
)  # fmt: skip
# The last part of the names of layers that make queries or values; a layer that makes both, and keys, is among them.
QUERY_OR_VALUE = re.compile(r"w?(q|v|kv|qkv)(_.*)?|query|value|query_key_value|c_attn", re.IGNORECASE)


def peft_config(folder: Path | str, method: str, *, num_virtual_tokens: int, **lora) -> PeftConfig | None:
    """PEFT's settings for a method on the base model in `folder`; None for `full`, which has no adapter.

    `lora` are the arguments of `lora_config`. The prefix methods are prefix tuning (Li & Liang 2021,
    https://arxiv.org/abs/2101.00190), prompt tuning that starts from tokens of the vocabulary (Lester et al. 2021,
    https://arxiv.org/abs/2104.08691) and p-tuning (Liu et al. 2021, https://arxiv.org/abs/2103.10385).

    Raises:
        Stop: the method does not fit the model.
    """
    tokens = added_tokens(folder)
    if method in ("lora", "qlora", "int8"):
        return lora_config(folder, tokens=tokens, **lora)
    if method == "full":
        return None
    if tokens:
        raise Stop(
            f"method: {method} trains no embeddings, so the {len(tokens)} extra_special_tokens would mean nothing; "
            "take lora or full, or none of these tokens."
        )
    options = {"task_type": "CAUSAL_LM", "num_virtual_tokens": num_virtual_tokens}
    if method == "prefix":
        # PEFT's random keys and values drown the tokens: the 135M model started at 7.6 nats instead of 4.3.
        return PrefixTuningConfig(init_weights="zero", **options)
    if method == "prompt":
        return PromptTuningConfig(prompt_tuning_init="SAMPLE_VOCAB", **options)
    return PromptEncoderConfig(**options)


def lora_config(
    folder: Path | str, lora_r: int, lora_alpha: float | None, lora_dropout: float,
    lora_target_modules: str | list[str], bias: str = "none", use_rslora: bool = False, use_dora: bool = False,
    tokens: list[int] = (),
) -> LoraConfig:  # fmt: skip
    """PEFT's LoRA settings for the model in `folder` (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    `lora_alpha=None` means `2 * lora_r`. `lora_target_modules` is `all-linear` (every linear layer but the head),
    `attention` (those of the attention), `attention-qv` (those that make queries and values) or a list of module
    names. The embeddings of `tokens`, and their rows of the head, are trained whole.

    Raises:
        Stop: the model has no such layers or no bias, or `lora_r` exceeds the smaller side of a targeted layer.
    """
    model = skeleton(folder)
    targets = targeted(model, lora_target_modules, folder)
    name, smallest = min(targets.items(), key=lambda item: item[1])
    if lora_r > smallest:
        raise Stop(f"lora_r is {lora_r}, but '{name}' of the base model has rank {smallest} at most; lower lora_r.")
    biased = [name for name, _ in model.named_parameters() if name.endswith(".bias")]
    biased = biased if bias == "all" else [name for name in biased if name.removesuffix(".bias") in targets]
    if bias != "none" and not biased:
        raise Stop(f"bias is '{bias}', but the layers of the model in {folder} have none; set it to none.")
    named = isinstance(lora_target_modules, list) or lora_target_modules == "all-linear"
    return LoraConfig(
        r=lora_r,
        lora_alpha=2 * lora_r if lora_alpha is None else lora_alpha,
        lora_dropout=lora_dropout,
        target_modules=lora_target_modules if named else sorted({tail(name) for name in targets}),
        bias=bias,
        use_rslora=use_rslora,
        use_dora=use_dora,
        trainable_token_indices={layer: list(tokens) for layer in vocabulary_layers(model)} if tokens else None,
        task_type="CAUSAL_LM",
    )


def skeleton(folder: Path | str) -> PreTrainedModel:
    """The model in `folder` without its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))


def linear_layers(model: PreTrainedModel) -> dict[str, int]:
    """The linear layers of a model without its head, each with its largest possible rank."""
    head = model.get_output_embeddings()
    return {
        name: min(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }


def targeted(model: PreTrainedModel, wanted: str | list[str], folder: Path | str) -> dict[str, int]:
    """The linear layers that `lora_target_modules` means; `Stop` names what there is where it means none."""
    layers = linear_layers(model)
    names = {name: name.rpartition(".")[2] for name in layers}
    if isinstance(wanted, list):
        unknown = [name for name in wanted if name not in names.values()]
        found = set() if unknown else {name for name in layers if names[name] in wanted}
    elif wanted == "all-linear":
        unknown, found = wanted, set(layers)
    else:
        attention = [name for name, module in model.named_modules() if "Attention" in type(module).__name__]
        unknown, found = wanted, {name for name in layers if any(name.startswith(f"{a}.") for a in attention)}
        if wanted == "attention-qv":
            found = {name for name in found if QUERY_OR_VALUE.fullmatch(names[name])}
    if not found:
        raise Stop(
            f"lora_target_modules names {unknown}, the model in {folder} has {sorted(set(names.values()))}; "
            "choose among them."
        )
    return {name: rank for name, rank in layers.items() if name in found}


def tail(name: str) -> str:
    """The last two parts of a layer's name: GPT-2 has a `c_proj` in the attention and one outside."""
    return ".".join(name.split(".")[-2:])


def vocabulary_layers(model: PreTrainedModel) -> list[str]:
    """The names of the embeddings and of a head of its own; PEFT follows a head that is tied to the embeddings."""
    layers = [model.get_input_embeddings()]
    if not model.config.get_text_config().tie_word_embeddings:
        layers.append(model.get_output_embeddings())
    return [name for name, module in model.named_modules() if any(module is layer for layer in layers)]


def added_tokens(folder: Path | str) -> list[int]:
    """The ids of the tokens that `stages.base` added to the vocabulary."""
    file = Path(folder, ADDED_TOKENS)
    return read_json(file)["ids"] if file.exists() else []
