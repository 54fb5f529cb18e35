"""Evaluation: what the models answer, and how their answers are scored."""

from typing import Literal

from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Count, Limit, Regex, StrictFields, Text
from tunelock.schema.sources_params import SourceSchema


class EvaluationParams(StrictFields):
    """The keys below the banner `evaluation`."""

    eval_batch_size: Count
    max_predict_samples: Limit
    max_new_tokens: Count
    label_patterns: dict[Text, Regex] | None
    choice_patterns: dict[Text, Regex] | None
    format_checks: dict[Text, Regex] | None
    general_source: SourceSchema
    generation_backend: Literal["transformers", "vllm"]


@rule("max_new_tokens: must be below max_length, or no room is left for the prompt; lower it.")
def _no_room_for_the_prompt(values: Values) -> bool:
    return values["max_new_tokens"] >= values["max_length"]


@rule("general_source: is not trained on, so role and weight mean nothing there; remove them.")
def _general_source_with_training_keys(values: Values) -> bool:
    return not {"role", "weight"}.isdisjoint(values["general_source"])
