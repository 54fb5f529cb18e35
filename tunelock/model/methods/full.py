"""Full tuning: every weight is trained, except those that `freeze_embeddings` and `freeze_layers` name."""

from pathlib import Path

from tunelock.model.methods.architecture import Architecture
from tunelock.model.methods.exclusions import options_are_for_lora
from tunelock.model.methods.method import BaseBytes, Guide, Method, PresetPart
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.run.rules import Values, rule

FLOAT32 = 4  # bytes


@rule("freeze_embeddings: the extra_special_tokens would never be learnt; set it to false.")
def _new_tokens_are_frozen(values: Values) -> bool:
    return values["freeze_embeddings"] and bool(values["extra_special_tokens"])


class Full(Method):
    """The whole model, in float32."""

    name = "full"
    summary = "every weight"
    trains_whole_model = True
    rules = (options_are_for_lora, _new_tokens_are_frozen)
    # A tenth of LoRA's rate (LoRA Without Regret); 2e-5 at 7B is also Llama 2's (arXiv:2307.09288, 3.1).
    preset = PresetPart(
        ("use_dora", "bias", "freeze_embeddings"), share_of_rate=0.1, optim_of_large_models="paged_adamw_8bit"
    )
    guide = Guide(
        (28, 52, 280),
        "the guides count 4 bytes a parameter, the float32 weights alone; training with AdamW takes 16: weights, "
        "gradients, two moments (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054)",
    )

    def peft_config(self, folder: Path | str, settings: MethodSettings) -> None:
        return None

    def adapted_layers(self, shape: Architecture, settings: MethodSettings) -> dict[str, tuple[int, int]]:
        return shape.linear_layers

    def count_trained(self, shape: Architecture, settings: MethodSettings) -> int:
        frozen = shape.vocab * shape.hidden if settings.freeze_embeddings else 0
        return shape.parameters - frozen - settings.freeze_layers * shape.layer_parameters

    def measure_base(self, shape: Architecture, settings: MethodSettings, width: int) -> BaseBytes:
        return BaseBytes(FLOAT32 * (shape.parameters - self.count_trained(shape, settings)), 0)

    def extra_activations(self, shape: Architecture, settings: MethodSettings, width: int, length: int) -> float:
        """The result of each norm before its weight, 4h; and in bfloat16 the casts of three inputs, 3eh.

        The weights and with them the residual stream are float32, so each of q, k, v and of gate, up casts its input.
        """
        cast = 3 * width * shape.hidden if width < FLOAT32 else 0
        return shape.norms * 4 * shape.hidden + cast

    def layers_without_backward(self, settings: MethodSettings) -> int:
        return settings.freeze_layers if settings.freeze_embeddings else 0

    def trains_head(self, shape: Architecture, settings: MethodSettings) -> bool:
        return not (shape.tied and settings.freeze_embeddings)
