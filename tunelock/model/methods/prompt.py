"""Prompt tuning (Lester et al. 2021, https://arxiv.org/abs/2104.08691): learnt embeddings before each row."""

from tunelock.model.methods.architecture import Architecture
from tunelock.model.methods.method import PresetPart
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.methods.soft_prompt import EPOCHS, PRESET_PARAMS, SoftPrompt


class Prompt(SoftPrompt):
    """Embeddings that start as those of tokens of the vocabulary."""

    name = "prompt"
    summary = "learnt embeddings before each row"
    preset = PresetPart(PRESET_PARAMS, learning_rate=3e-2, epochs=EPOCHS)  # the rate of PEFT's example

    def make_prompt_config(self, **options):
        from peft import PromptTuningConfig

        return PromptTuningConfig(prompt_tuning_init="SAMPLE_VOCAB", **options)

    def count_trained(self, shape: Architecture, settings: MethodSettings) -> int:
        return settings.num_virtual_tokens * shape.hidden

    def virtual_tokens(self, settings: MethodSettings) -> int:
        return settings.num_virtual_tokens
