"""LoRA on a base in 8 bits (LLM.int8(), Dettmers et al. 2022, https://arxiv.org/abs/2208.07339)."""

from tunelock.model.methods.architecture import Architecture
from tunelock.model.methods.method import BaseBytes
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.methods.quantised import QuantisedLora


class Int8(QuantisedLora):
    """The linear weights but the head in rows of 8-bit integers."""

    name = "int8"
    summary = "low-rank adapters, base in 8 bits"
    bits = 8

    def quantization(self, dtype: str, double_quant: bool):
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(load_in_8bit=True)

    def layers_that_keep_inputs(self, shape: Architecture, settings: MethodSettings) -> dict[str, tuple[int, int]]:
        """All of them: bitsandbytes keeps the input of each of its layers."""
        return shape.linear_layers

    def measure_base(self, shape: Architecture, settings: MethodSettings, width: int) -> BaseBytes:
        """A row of a matrix has a float32 constant."""
        quantised = shape.linear_weights
        rows = shape.layers * sum(outputs for _, outputs in shape.linear_layers.values())
        return BaseBytes(quantised + width * (shape.parameters - quantised), 4 * rows)
