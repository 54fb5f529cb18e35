"""Against forgetting: what holds the model near its base."""

from typing import Literal

from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Positive, StrictFields, Text, Weight
from tunelock.schema.method_params import SOFT
from tunelock.schema.sources_params import has_replay_source


class ForgettingParams(StrictFields):
    """The keys below the banner `against forgetting`."""

    regularization: Literal["none", "l2", "ewc", "kl"]
    regularization_weight: Positive
    task_loss_weights: dict[Text, Weight] | None


@rule("regularization: l2 and ewc hold the base's weights, which soft prompts leave alone; set none or kl.")
def soft_prompt_with_held_weights(values: Values) -> bool:
    return values["method"] in SOFT and values["regularization"] in ("l2", "ewc")


@rule("regularization: ewc needs gradients of the base's weights, which quantised ones have not; set l2 or kl.")
def quantised_base_with_ewc(values: Values) -> bool:
    return values["method"] in ("qlora", "int8") and values["regularization"] == "ewc"


@rule("regularization: l2 and ewc do not know DoRA's magnitudes; set kl, or use_dora to false.")
def dora_with_held_weights(values: Values) -> bool:
    return values["use_dora"] and values["regularization"] in ("l2", "ewc")


@rule("regularization: ewc and kl compare with the base on general data; give a source `role: replay`.")
def comparison_without_replay(values: Values) -> bool:
    return values["regularization"] in ("ewc", "kl") and not has_replay_source(values)
