"""What soft prompts share: some learnt vectors stand before each row, and the base's weights stay as they are."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunelock.model.methods.added_tokens import read_added_tokens
from tunelock.model.methods.exclusions import freezing_is_for_full_tuning, options_are_for_lora
from tunelock.model.methods.method import Method
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.run.errors import Stop
from tunelock.run.rules import Rule, Values, rule

if TYPE_CHECKING:
    from peft import PeftConfig

PRESET_PARAMS = ("use_dora", "bias", "num_virtual_tokens", "packing")
EPOCHS = 3  # times the preset's: a prompt of a few vectors learns slowly


@rule("extra_special_tokens: soft prompts train no embeddings; take a LoRA method or full, or none of these tokens.")
def _new_tokens_have_no_embeddings(values: Values) -> bool:
    return bool(values["extra_special_tokens"])


@rule("packing: a soft prompt would stand before the first of the packed rows alone; set packing to false.")
def _packed_rows_lack_the_prompt(values: Values) -> bool:
    return values["packing"]


class SoftPrompt(Method):
    """A prompt of vectors, kept beside its base."""

    is_merged = False
    moves_base_weights = False
    rules: tuple[Rule, ...] = (
        options_are_for_lora,
        freezing_is_for_full_tuning,
        _new_tokens_have_no_embeddings,
        _packed_rows_lack_the_prompt,
    )

    def make_prompt_config(self, **options) -> "PeftConfig":
        """PEFT's settings of the prompt; `options` are those that every kind takes."""
        raise NotImplementedError

    def peft_config(self, folder: Path | str, settings: MethodSettings) -> "PeftConfig":
        tokens = read_added_tokens(folder)
        if tokens:
            raise Stop(
                f"method: {self.name} trains no embeddings, so the {len(tokens)} extra_special_tokens would mean "
                "nothing; take lora or full, or none of these tokens."
            )
        return self.make_prompt_config(task_type="CAUSAL_LM", num_virtual_tokens=settings.num_virtual_tokens)
