"""LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685): two small matrices beside each linear layer."""

from pathlib import Path

from tunelock.model.methods.architecture import ATTENTION, Architecture
from tunelock.model.methods.exclusions import freezing_is_for_full_tuning
from tunelock.model.methods.method import Guide, Method, PresetPart
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.run.rules import Rule

# all-linear: every layer. Phi-3 makes queries, keys and values in one.
TARGETS = {"attention": (*ATTENTION, "qkv_proj"), "attention-qv": ("q_proj", "v_proj", "qkv_proj")}
MLP = {"gate_proj", "up_proj", "down_proj"}


class Lora(Method):
    """An adapter in every linear layer of the params' choice."""

    name = "lora"
    summary = "low-rank adapters"
    has_rank = True
    rules: tuple[Rule, ...] = (freezing_is_for_full_tuning,)
    preset = PresetPart(("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"))
    guide: Guide | None = Guide(
        (16, 28, 80),
        "alike but for 70B, whose frozen base alone is 138 GB at 2 bytes a parameter; 80 GB would be method=int8",
    )

    def peft_config(self, folder: Path | str, settings: MethodSettings):
        from tunelock.model.methods.lora_targets import make_lora_config

        return make_lora_config(folder, settings)

    def adapted_layers(self, shape: Architecture, settings: MethodSettings) -> dict[str, tuple[int, int]]:
        layers, wanted = shape.linear_layers, settings.lora_target_modules
        names = wanted if isinstance(wanted, list) else TARGETS.get(wanted, layers)
        return {name: size for name, size in layers.items() if name in names}

    def count_trained(self, shape: Architecture, settings: MethodSettings) -> int:
        layers = self.adapted_layers(shape, settings)
        matrices = settings.lora_r * sum(inputs + outputs for inputs, outputs in layers.values())
        magnitudes = sum(outputs for _, outputs in layers.values()) if settings.use_dora else 0
        experts = _count_expert_adapters(shape, settings)
        return shape.layers * (matrices + magnitudes + experts + _count_biases(shape, settings, layers))

    def has_fused_mlp(self, shape: Architecture, settings: MethodSettings) -> bool:
        plain = not settings.lora_dropout and not settings.use_dora and settings.bias != "lora_only"
        return plain and self.adapted_layers(shape, settings).keys() >= MLP

    def extra_activations(self, shape: Architecture, settings: MethodSettings, width: int, length: int) -> float:
        """An adapted layer: er of rank r; with dropout also (e + 1) x inputs, with DoRA also 2e x outputs."""
        total = 0.0
        for inputs, outputs in self.adapted_layers(shape, settings).values():
            total += width * settings.lora_r
            total += (width + 1) * inputs * (settings.lora_dropout > 0)
            total += 2 * width * outputs * settings.use_dora
        return total


def _count_expert_adapters(shape: Architecture, settings: MethodSettings) -> int:
    """The adapters of router and experts of a layer, which PEFT adds for `all-linear` where they once were linear
    layers, as in Mixtral and Qwen: of gate and up with twice the rank (`peft.utils.transformers_weight_conversion`)."""
    if settings.lora_target_modules != "all-linear" or shape.biased or not shape.experts:
        return 0
    gate_up, down = 2 * (shape.hidden + 2 * shape.intermediate), shape.intermediate + shape.hidden
    return settings.lora_r * (shape.experts * (gate_up + down) + shape.hidden + shape.experts)


def _count_biases(shape: Architecture, settings: MethodSettings, adapted: dict) -> int:
    """The biases of a layer that are trained beside its adapters."""
    if settings.bias == "none" or not shape.qkv_bias:
        return 0
    trained = [name for name in ATTENTION[:3] if settings.bias == "all" or name in adapted]
    return sum(shape.linear_layers[name][1] for name in trained)
