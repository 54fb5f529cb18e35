"""Method: what of the model is trained."""

from typing import Annotated, Literal

from pydantic import Field

from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Count, Positive, Share, StrictFields

LORA = ("lora", "qlora", "int8")
SOFT = ("prefix", "prompt", "ptuning")


class Unfreezing(StrictFields):
    """One step of `unfreeze_schedule`."""

    at: Share
    layers: Count
    learning_rate: Annotated[float, Field(gt=0, lt=1)]


class MethodParams(StrictFields):
    """The keys below the banner `method`."""

    method: Literal["lora", "qlora", "int8", "full", "prefix", "prompt", "ptuning"]
    lora_r: Count
    lora_alpha: Positive | None
    lora_dropout: Share
    lora_target_modules: Literal["all-linear", "attention", "attention-qv"] | Annotated[list[str], Field(min_length=1)]
    bias: Literal["none", "all", "lora_only"]
    use_rslora: bool
    use_dora: bool
    bnb_4bit_use_double_quant: bool
    num_virtual_tokens: Count
    freeze_embeddings: bool
    freeze_layers: Annotated[int, Field(ge=0)]
    unfreeze_schedule: Annotated[list[Unfreezing], Field(min_length=1)] | None


@rule("dtype: qlora computes in bfloat16; set dtype to bfloat16.")
def qlora_in_float32(values: Values) -> bool:
    return values["method"] == "qlora" and values["dtype"] == "float32"


@rule("method: use_dora, use_rslora and bias are options of LoRA; set them false and none, or method to lora.")
def lora_options_without_lora(values: Values) -> bool:
    lora_options = values["use_dora"] or values["use_rslora"] or values["bias"] != "none"
    return values["method"] not in LORA and lora_options


@rule("freeze_layers: it and unfreeze_schedule are for method full, the others freeze the base; set 0 and null.")
def layers_frozen_twice(values: Values) -> bool:
    return values["method"] != "full" and bool(values["freeze_layers"] or values["unfreeze_schedule"])


@rule("unfreeze_schedule: thaws more layers than freeze_layers froze; raise freeze_layers.")
def more_layers_thawed_than_frozen(values: Values) -> bool:
    thawed = sum(step["layers"] for step in values["unfreeze_schedule"] or [])
    return thawed > 0 and thawed > values["freeze_layers"]


@rule("unfreeze_schedule: its steps are to be in the order of `at`, each at another one; sort them.")
def unfreezing_is_out_of_order(values: Values) -> bool:
    times = [step["at"] for step in values["unfreeze_schedule"] or []]
    return times != sorted(set(times))


@rule("freeze_embeddings: the extra_special_tokens would never be learnt; set it to false.")
def frozen_embeddings_with_new_tokens(values: Values) -> bool:
    return values["method"] == "full" and values["freeze_embeddings"] and bool(values["extra_special_tokens"])


@rule("extra_special_tokens: soft prompts train no embeddings; take a LoRA method or full, or none of these tokens.")
def soft_prompt_with_new_tokens(values: Values) -> bool:
    return values["method"] in SOFT and bool(values["extra_special_tokens"])


@rule("gradient_checkpointing: would put the prefix before each layer twice; set it to false, or method to prompt.")
def prefix_with_gradient_checkpointing(values: Values) -> bool:
    return values["method"] == "prefix" and values["gradient_checkpointing"]


@rule("packing: a soft prompt would stand before the first of the packed rows alone; set packing to false.")
def soft_prompt_with_packing(values: Values) -> bool:
    return values["method"] in SOFT and values["packing"]
