"""What params.yaml says of the methods, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSettings:
    """The params that some method reads; each method looks at its own and leaves the others alone."""

    lora_r: int
    lora_alpha: float | None
    lora_dropout: float
    lora_target_modules: str | list[str]
    bias: str = "none"
    use_rslora: bool = False
    use_dora: bool = False
    bnb_4bit_use_double_quant: bool = True
    num_virtual_tokens: int = 20
    freeze_embeddings: bool = False
    freeze_layers: int = 0

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Take from all params those that are needed here."""
        return cls(**{field.name: params[field.name] for field in fields(cls)})


# Of params.yaml, for pilot and train: what makes the model. Freezing is training's own, the pilot freezes nothing.
METHOD_PARAMS = tuple(field.name for field in fields(MethodSettings) if not field.name.startswith("freeze_"))
