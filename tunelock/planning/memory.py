"""How much memory a training takes: pure functions of the model's shape and the params.

What a method adds is in its own module of `tunelock.model.methods`; here is what all have in common, and the sum.

What the trainer keeps for the backward pass, in bytes a token and layer, is counted as in Korthikanti et al. 2022
(https://arxiv.org/abs/2205.05198), for our kernels. h hidden, i intermediate, q = heads x head_dim, k = kv_heads x
head_dim, e bytes a number (2 in bfloat16):

    each norm before a block    4h      its input in float32
    attention                   e(2q + 2k) + 4 heads   queries, keys, values, output, log-sum of each row; SDPA keeps
                                no probabilities, so nothing grows with the square of the length, except in Gemma 2
                                (8 heads x length: capped scores, softmax in float32, its copy)
    MLP                         3ei     gate, its activation, up; 2ei where `tunelock.training.kernels.fused` makes
                                all three of its layers one: gate and up, and nothing for the input of down
    norms of queries and keys   4(q + k), where there are any
    inputs of linear layers     eh for q, k, v together, eh for gate, up together, ei for down; o has the output above.
                                Only where layers are adapted or trained: a frozen one needs no input

Of a mixture, i is that of the experts that are chosen for a token, which are frozen and have no adapter.
Gradient checkpointing keeps eh a layer, and the above of one layer at a time. Padding, and what rows share for each of
them, are counted, though on a CPU `tunelock.model.sharing` may spare them: a bound there.
"""

from typing import NamedTuple

from tunelock.model.methods.architecture import ATTENTION, Architecture
from tunelock.planning.memory_settings import MemorySettings

GB = 1e9  # bytes
# Of each trained number in float32: itself, its gradient, AdamW's two moments. 16 bytes, as many as bfloat16 with
# float32 masters takes (2 + 2 + 4 + 8: Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054).
WEIGHT, GRADIENT, MOMENTS = 4, 4, 8
MOMENTS_8BIT = 2 + 8 / 256  # two bytes, and a float32 constant for 256 of them, twice (Dettmers et al. 2022)
CHUNK = 256  # rows of logits alive at a time, as in `tunelock.model.losses`
CHUNK_LOGITS = 6  # bytes a logit of a chunk at its peak: float32, and bfloat16 before or after
LOGITS = 12  # bytes a logit of a whole batch (capped heads): bfloat16, float32, two more on the way
ONE_INPUT = (
    (*ATTENTION[:3], "qkv_proj"),
    ("gate_proj", "up_proj", "gate_up_proj"),
)  # linear layers that share what goes into them


class Batch(NamedTuple):
    """The largest batch: rows, tokens a row with padding, and how many tokens of all have a label."""

    rows: int
    length: int
    labelled: int


class Memory(NamedTuple):
    """Bytes by part. `constants` scale quantised weights; `workspace` is what one layer's backward pass needs."""

    weights: float
    constants: float
    gradients: float
    optimiser: float
    activations: float
    logits: float
    workspace: float
    accumulates: bool

    @property
    def peak(self) -> float:
        """The most that is there at a time.

        The first gradients appear as activations go, so the two are summed only where gradients are accumulated.
        """
        passing = self.activations + max(self.logits, self.workspace)
        moving = passing + self.gradients if self.accumulates else max(passing, self.gradients + self.workspace)
        return self.weights + self.constants + self.optimiser + moving


def estimate_memory(shape: Architecture, settings: MemorySettings, batch: Batch) -> Memory:
    """The memory of a training step."""
    width, method = settings.width, settings.entry
    trained = method.count_trained(shape, settings)
    base = method.measure_base(shape, settings, width)
    copies = width * trained if width < WEIGHT else 0  # autocast's, of what is trained
    return Memory(
        weights=base.weights + WEIGHT * trained,
        constants=base.constants,
        gradients=GRADIENT * trained,
        optimiser=_count_moments(settings) * trained,
        activations=count_activations(shape, settings, batch) + copies,
        logits=_count_logits(shape, settings, batch),
        workspace=_count_workspace(shape, settings, batch),
        accumulates=settings.gradient_accumulation_steps > 1,
    )


def count_activations(shape: Architecture, settings: MemorySettings, batch: Batch) -> float:
    """Bytes kept between the forward and the backward pass of a batch."""
    width, method = settings.width, settings.entry
    length = batch.length + method.virtual_tokens(settings)
    tokens = batch.rows * length
    # The last norm, and the states at the head.
    ends = (4 + 2 * width) * shape.hidden * tokens + 2 * width * shape.hidden * batch.labelled
    prefix = method.prefix_bytes(shape, settings, width) * batch.rows
    one = tokens * _count_layer_activations(shape, settings, length)
    layers = shape.layers - method.layers_without_backward(settings)
    if settings.gradient_checkpointing:
        return ends + tokens * layers * width * shape.hidden + one + shape.layers * prefix
    return ends + layers * (one + prefix)


def _count_layer_activations(shape: Architecture, settings: MemorySettings, length: int) -> float:
    """Bytes a token that one layer keeps for its backward pass; the module's docstring has the sum."""
    width, method = settings.width, settings.entry
    layers = method.layers_that_keep_inputs(shape, settings)
    fused = method.has_fused_mlp(shape, settings)
    norms = 4 * (shape.norms * shape.hidden + bool(shape.qk_norm) * (shape.query_width + shape.key_width))
    attention = width * (2 * shape.query_width + 2 * shape.key_width) + 4 * shape.heads
    scores = (2 * width + 4) * shape.heads * length * shape.capped
    mlp = (2 if fused else 3) * width * shape.mlp_width
    shared = sum(not layers.keys().isdisjoint(names) for names in ONE_INPUT)
    inputs = width * shape.hidden * shared + width * shape.intermediate * ("down_proj" in layers and not fused)
    return norms + attention + scores + mlp + inputs + method.extra_activations(shape, settings, width, length)


def _count_moments(settings: MemorySettings) -> float:
    """Bytes of the optimiser's states a trained number; paged ones move to the host when the device is full."""
    if settings.optim.startswith("paged"):
        return 0
    return MOMENTS if settings.optim == "adamw_torch" else MOMENTS_8BIT


def _count_logits(shape: Architecture, settings: MemorySettings, batch: Batch) -> float:
    """Bytes of the logits, and of the gradient of a head that is trained."""
    width = settings.width
    head = width * shape.vocab * shape.hidden * settings.entry.trains_head(shape, settings)
    whole = 3 * width * batch.rows * batch.length + LOGITS * batch.labelled
    chunked = CHUNK_LOGITS * min(CHUNK, batch.labelled)
    return (whole if shape.capped else chunked) * shape.vocab + head


def _count_workspace(shape: Architecture, settings: MemorySettings, batch: Batch) -> float:
    """Bytes that one layer's backward pass needs; of quantised weights the largest matrix is made dense."""
    quantised = not settings.entry.base_has_gradients
    dense = settings.width * max(inputs * outputs for inputs, outputs in shape.linear_layers.values()) * quantised
    return 4 * settings.width * shape.mlp_width * batch.rows * batch.length + dense
