"""Prefix tuning (Li and Liang 2021, https://arxiv.org/abs/2101.00190): keys and values before each layer's own."""

from tunelock.model.methods.architecture import Architecture
from tunelock.model.methods.method import PresetPart
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.methods.soft_prompt import EPOCHS, PRESET_PARAMS, SoftPrompt
from tunelock.run.rules import Values, rule


@rule("gradient_checkpointing: would put the prefix before each layer twice; set it to false, or method to prompt.")
def _checkpointing_doubles_the_prefix(values: Values) -> bool:
    return values["gradient_checkpointing"]


class Prefix(SoftPrompt):
    """Learnt keys and values in each layer."""

    name = "prefix"
    summary = "learnt keys and values in each layer"
    allows_checkpointing = False
    rules = (*SoftPrompt.rules, _checkpointing_doubles_the_prefix)
    preset = PresetPart(PRESET_PARAMS, learning_rate=1e-2, epochs=EPOCHS)  # the rate of PEFT's example

    def make_prompt_config(self, **options):
        from peft import PrefixTuningConfig

        # PEFT's random keys and values drown the tokens: the 135M model started at 7.6 nats instead of 4.3.
        return PrefixTuningConfig(init_weights="zero", **options)

    def count_trained(self, shape: Architecture, settings: MethodSettings) -> int:
        return settings.num_virtual_tokens * 2 * shape.layers * shape.key_width

    def extra_activations(self, shape: Architecture, settings: MethodSettings, width: int, length: int) -> float:
        """With a prefix SDPA needs a mask, and with a mask a copy of keys and values for every head."""
        copies = 2 * width * (shape.query_width - shape.key_width)
        return copies + width * (length + settings.num_virtual_tokens)

    def prefix_bytes(self, shape: Architecture, settings: MethodSettings, width: int) -> int:
        return 2 * width * shape.query_width * settings.num_virtual_tokens
