"""Method: what of the model is trained. What a method excludes stands in its own module."""

from typing import Annotated, Literal

from pydantic import Field

from tunelock.model.methods.all_methods import METHODS
from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Count, Positive, Share, StrictFields


class _Unfreezing(StrictFields):
    """One step of `unfreeze_schedule`."""

    at: Share
    layers: Count
    learning_rate: Annotated[float, Field(gt=0, lt=1)]


class MethodParams(StrictFields):
    """The keys below the banner `method`."""

    method: Literal[tuple(METHODS)]  # type: ignore[valid-type]  # the names are known when this is imported
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
    unfreeze_schedule: Annotated[list[_Unfreezing], Field(min_length=1)] | None


@rule("unfreeze_schedule: thaws more layers than freeze_layers froze; raise freeze_layers.")
def _more_layers_thawed_than_frozen(values: Values) -> bool:
    thawed = sum(step["layers"] for step in values["unfreeze_schedule"] or [])
    return thawed > 0 and thawed > values["freeze_layers"]


@rule("unfreeze_schedule: its steps are to be in the order of `at`, each at another one; sort them.")
def _unfreezing_is_out_of_order(values: Values) -> bool:
    times = [step["at"] for step in values["unfreeze_schedule"] or []]
    return times != sorted(set(times))
