"""QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314): LoRA on a base in 4 bits (NF4)."""

from tunelock.model.methods.architecture import Architecture
from tunelock.model.methods.method import BaseBytes, Guide, PresetPart
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.methods.quantised import QuantisedLora
from tunelock.run.rules import Values, rule

BLOCK = 64  # weights that share a constant
CONSTANTS = 256  # constants that share one of their own under double quantisation


@rule("dtype: qlora computes in bfloat16; set dtype to bfloat16.")
def _computes_in_float32(values: Values) -> bool:
    return values["dtype"] == "float32"


class QLora(QuantisedLora):
    """The linear weights but the head in blocks of NF4 numbers."""

    name = "qlora"
    summary = "low-rank adapters, base in 4-bit NF4"
    bits = 4
    rules = (_computes_in_float32, *QuantisedLora.rules)
    preset = PresetPart(
        (*QuantisedLora.preset.params, "bnb_4bit_use_double_quant"),
        optim_of_large_models="paged_adamw_32bit",  # its authors page the states
        max_grad_norm=0.3,  # appendix B.2
    )
    guide = Guide(
        (6, 12, 48), "alike: half a byte a weight, embeddings and head 2 bytes, 16 bytes for each trained parameter"
    )

    def quantization(self, dtype: str, double_quant: bool):
        import torch
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=double_quant,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )

    def measure_base(self, shape: Architecture, settings: MethodSettings, width: int) -> BaseBytes:
        """A block has a float32 constant; double quantisation makes it one byte and a float32 for 256 of those."""
        quantised, double = shape.linear_weights, settings.bnb_4bit_use_double_quant
        constant = 1 / BLOCK + 4 / (BLOCK * CONSTANTS) if double else 4 / BLOCK
        return BaseBytes(quantised / 2 + width * (shape.parameters - quantised), quantised * constant)
