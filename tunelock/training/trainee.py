"""The model that is trained, as its method wants it: the base, what stands beside it, and what thaws later."""

from pathlib import Path
from typing import Any, NamedTuple

from peft import PeftConfig
from transformers import PreTrainedModel

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import load_model
from tunelock.model.trials import check_model, check_soft_prompt
from tunelock.training.freezing import GradualUnfreezing, freeze_parts


class _Trainee(NamedTuple):
    """The base, PEFT's settings of its adapter (None: the model itself is trained), and the layers that thaw later."""

    model: PreTrainedModel
    adapter: PeftConfig | None
    unfreezing: GradualUnfreezing | None


def load_trainee(
    base: Path | str, method: str, settings: MethodSettings, dtype: str, freezing: dict[str, Any] | None = None
) -> _Trainee:
    """Load the base in the folder `base` for a method that computes in `dtype`.

    Args:
        freezing: the arguments of `freeze_parts`, for a method that trains the whole model; None freezes nothing.

    Raises:
        Stop: method and model do not fit each other, or the model is none that writes from left to right.
    """
    chosen = METHODS[method]
    adapter = chosen.peft_config(base, settings)
    quantization = chosen.quantization(dtype, settings.bnb_4bit_use_double_quant)
    model = load_model(base, chosen.weights_dtype(dtype), quantization)
    check_model(model)
    if adapter and adapter.is_prompt_learning:
        check_soft_prompt(model, adapter)
    frozen = freezing is not None and chosen.trains_whole_model
    return _Trainee(model, adapter, freeze_parts(model, **freezing) if frozen else None)
