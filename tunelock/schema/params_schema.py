"""The schema of `params.yaml`: a file a banner, collected here."""

from tunelock.model.methods.all_methods import list_method_rules
from tunelock.run.rules import Rule, rules_of
from tunelock.schema import (
    claims_params,
    clean_params,
    evaluation_params,
    forgetting_params,
    method_params,
    model_params,
    pilot_params,
    sources_params,
    split_params,
    training_params,
)
from tunelock.training.penalties import all_penalties

BANNERS = (
    sources_params,
    clean_params,
    split_params,
    model_params,
    method_params,
    forgetting_params,
    training_params,
    pilot_params,
    evaluation_params,
    claims_params,
)


class Schema(  # the fields of the last base come first
    claims_params.ClaimsParams,
    evaluation_params.EvaluationParams,
    pilot_params.PilotParams,
    training_params.TrainingParams,
    forgetting_params.ForgettingParams,
    method_params.MethodParams,
    model_params.ModelParams,
    split_params.SplitParams,
    clean_params.CleanParams,
    sources_params.SourcesParams,
):
    """One field a key of `params.yaml`, where each is explained; nothing has a default."""


def collect_rules() -> list[Rule]:
    """The contradictions that the banners name, in the order of params.yaml, and what methods and penalties exclude."""
    rules: list[Rule] = []
    for banner in BANNERS:
        rules += rules_of(banner)
    return [*rules, *list_method_rules(), *rules_of(all_penalties)]
