"""Against forgetting: what holds the model near its base. What penalties need of a method stands with them."""

from typing import Literal

from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Positive, StrictFields, Text, Weight
from tunelock.schema.sources_params import has_replay_source
from tunelock.training.penalties.all_penalties import NO_PENALTY, PENALTIES, list_penalties

_COMPARE_WITH_BASE = list_penalties(needs_replay=True)


class ForgettingParams(StrictFields):
    """The keys below the banner `against forgetting`."""

    regularization: Literal[NO_PENALTY, *PENALTIES]  # type: ignore[valid-type]  # as above
    regularization_weight: Positive
    task_loss_weights: dict[Text, Weight] | None


@rule(
    f"regularization: {' and '.join(_COMPARE_WITH_BASE)} compare with the base on general data; give a source "
    "`role: replay`."
)
def _comparison_without_replay(values: Values) -> bool:
    return values["regularization"] in _COMPARE_WITH_BASE and not has_replay_source(values)
