"""The protocol of a method. A new method is a file with a subclass, and its entry in `all_methods`.

What a subclass does not say is as for an adapter beside a frozen base, which is merged into the base's weights. Sizes
are bytes, `width` is the bytes of a number in the dtype of the arithmetic (2 in bfloat16).
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunelock.model.methods.architecture import Architecture
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.run.rules import Rule

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import BitsAndBytesConfig


class BaseBytes(NamedTuple):
    """Bytes of the base's frozen weights, and of their quantisation constants."""

    weights: float
    constants: float


class PresetPart(NamedTuple):
    """What `tunelock.planning.presets` sets for a method: its own params, and how it differs from LoRA.

    `params` are the keys that the method reads, for a preset to set. A `learning_rate` of its own is that of the middle
    preset; without one it is the rate of the model's size times `share_of_rate`. `epochs` multiplies the preset's.
    """

    params: tuple[str, ...]
    learning_rate: float | None = None
    share_of_rate: float = 1
    epochs: int = 1
    optim_of_large_models: str = "adamw_torch"
    max_grad_norm: float = 1.0


class Guide(NamedTuple):
    """GB that the guides name for models of 7, 13 and 70 billion parameters, and why ours differ."""

    gigabytes: tuple[int, int, int]
    why: str


class Method:
    """One way to train a model."""

    name: str  # as params.yaml has it
    summary: str  # what a person reads of it, in a help text and in params.yaml

    # ---- what training and merging ask
    trains_whole_model = False  # no adapter: the model itself is trained, kept in float32 and saved whole
    has_rank = False  # lora_r and the other options of LoRA mean something
    is_merged = True  # into the base's weights; a soft prompt is kept beside its base instead
    moves_base_weights = True  # by a matrix, so that it can be measured how far
    base_has_gradients = True  # quantised weights take none
    allows_checkpointing = True  # gradient checkpointing gives the same result
    rules: tuple[Rule, ...] = ()  # what the method excludes, given that it is the one in params.yaml

    # ---- what planning asks
    bits = 16  # of a weight of the base, where the dtype does not decide
    # Model FLOPs that a GPU does, as a share of its peak: 38 to 43 % is what Llama 3 was trained at (Grattafiori et al.
    # 2024, https://arxiv.org/abs/2407.21783, table 4).
    utilisation = 0.4
    preset: PresetPart
    guide: Guide | None = None

    def peft_config(self, folder: Path | str, settings: MethodSettings) -> "PeftConfig | None":
        """PEFT's settings on the base model in `folder`, None where there is no adapter.

        Raises:
            Stop: the method does not fit the model.
        """
        raise NotImplementedError

    def quantization(self, dtype: str, double_quant: bool) -> "BitsAndBytesConfig | None":
        """How the base is quantised when it is loaded to be computed with in `dtype`; None where it is not."""
        return None

    def weights_dtype(self, dtype: str) -> str:
        """The dtype that the base is loaded in where the arithmetic is done in `dtype`."""
        # Full tuning changes the weights by less than bfloat16 can tell apart.
        return "float32" if self.trains_whole_model else dtype

    def count_trained(self, shape: Architecture, settings: MethodSettings) -> int:
        """How many parameters are trained, as PEFT counts them."""
        raise NotImplementedError

    def adapted_layers(self, shape: Architecture, settings: MethodSettings) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear layers of a block that are adapted or trained."""
        return {}

    def layers_that_keep_inputs(self, shape: Architecture, settings: MethodSettings) -> dict[str, tuple[int, int]]:
        """The linear layers of a block whose inputs are kept for the backward pass."""
        return self.adapted_layers(shape, settings)

    def has_fused_mlp(self, shape: Architecture, settings: MethodSettings) -> bool:
        """Whether `tunelock.training.kernels.fused` takes the three layers of an MLP together."""
        return False

    def measure_base(self, shape: Architecture, settings: MethodSettings, width: int) -> BaseBytes:
        """The memory of the base's frozen weights."""
        return BaseBytes(width * shape.parameters, 0)

    def extra_activations(self, shape: Architecture, settings: MethodSettings, width: int, length: int) -> float:
        """Bytes that a layer keeps of a token beyond what a model without the method does; `length` tokens a row."""
        return 0

    def virtual_tokens(self, settings: MethodSettings) -> int:
        """Tokens in front of each row that go through the model as the row's own do."""
        return 0

    def prefix_bytes(self, shape: Architecture, settings: MethodSettings, width: int) -> int:
        """Bytes of keys and values that stand before each row in each layer."""
        return 0

    def layers_without_backward(self, settings: MethodSettings) -> int:
        """The first layers that no gradient reaches."""
        return 0

    def trains_head(self, shape: Architecture, settings: MethodSettings) -> bool:
        """Whether the head takes a gradient."""
        return False
