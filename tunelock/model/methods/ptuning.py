"""P-tuning (Liu et al. 2021, https://arxiv.org/abs/2103.10385): a network makes the embeddings before each row."""

from tunelock.model.methods.architecture import Architecture
from tunelock.model.methods.method import PresetPart
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.methods.soft_prompt import EPOCHS, PRESET_PARAMS, SoftPrompt


class PTuning(SoftPrompt):
    """Embeddings out of a network of three layers, which start at random."""

    name = "ptuning"
    summary = "embeddings before each row, made by a small network"
    preset = PresetPart(PRESET_PARAMS, learning_rate=1e-3, epochs=EPOCHS)  # the rate of PEFT's example

    def make_prompt_config(self, **options):
        from peft import PromptEncoderConfig

        return PromptEncoderConfig(**options)

    def count_trained(self, shape: Architecture, settings: MethodSettings) -> int:
        network = 3 * (shape.hidden + 1) * shape.hidden
        return settings.num_virtual_tokens * shape.hidden + network

    def virtual_tokens(self, settings: MethodSettings) -> int:
        return settings.num_virtual_tokens
