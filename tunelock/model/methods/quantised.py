"""LoRA on a base whose weights are kept in fewer bits; they are unpacked for each product and take no gradient."""

from tunelock.model.methods.lora import Lora
from tunelock.model.methods.method import Guide


class QuantisedLora(Lora):
    """What the methods with a quantised base share."""

    base_has_gradients = False
    utilisation = 0.3  # unpacking costs; how much is an assumption
    guide: Guide | None = None

    def has_fused_mlp(self, shape, settings) -> bool:
        return False
