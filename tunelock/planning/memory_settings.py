"""What memory, arithmetic and disk depend on, as one value."""

from dataclasses import dataclass, fields

from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method import Method
from tunelock.model.methods.method_settings import MethodSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings(MethodSettings):
    """The params that decide what a training takes. `dtype` is that of the arithmetic, `auto` counts as bfloat16."""

    method: str
    dtype: str
    optim: str
    max_length: int
    packing: bool
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool

    @property
    def entry(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    @property
    def width(self) -> int:
        """Bytes of a number in the dtype of the arithmetic."""
        return 4 if self.dtype == "float32" else 2


MEMORY_PARAMS = tuple(field.name for field in fields(MemorySettings))
