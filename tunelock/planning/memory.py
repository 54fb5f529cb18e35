"""How much memory, arithmetic and disk a training takes: pure functions of the model's shape and the params.

`settings` is anything with the attributes of `MEMORY_PARAMS`, such as a stage's params.

What the trainer keeps for the backward pass, in bytes a token and layer, is counted as in Korthikanti et al. 2022
(https://arxiv.org/abs/2205.05198), for our kernels. h hidden, i intermediate, q = heads x head_dim, k = kv_heads x
head_dim, e bytes a number (2 in bfloat16), r rank:

    each norm before a block    4h      its input in float32
    attention                   e(2q + 2k) + 4 heads   queries, keys, values, output, log-sum of each row; SDPA keeps
                                no probabilities, so nothing grows with the square of the length; but in Gemma 2
                                (8 heads x length: capped scores, softmax in float32, its copy)
    MLP                         3ei     gate, its activation, up; 2ei where `tunelock.training.kernels.fused` makes all
    three of its
                                layers one: gate and up, and nothing for the input of down
    inputs of linear layers     eh for q, k, v together, eh for gate, up together, ei for down; o has the output above.
                                Only where layers are adapted or trained: a frozen one needs no input. int8 keeps all
    prefix                      with it SDPA needs a mask, e(length + virtual), and k grows to q: a copy for every head
    LoRA                        er an adapted layer; with dropout also (e + 1) x in; with DoRA also 2e x out
    full                        4h a norm, its result before the weight; weights and with them the residual stream are
                                float32, so that in bfloat16 each of q, k, v and of gate, up casts its input anew: 3eh

Gradient checkpointing keeps eh a layer, and the above of one layer at a time. Padding, and
what rows share for each of them, are counted, though on a CPU `tunelock.model.sharing` may spare them: a bound there.
"""

from typing import NamedTuple

from tunelock.planning.shape import ATTENTION, LORA, Architecture, adapted, linears, parameters, trainable

GB = 1e9  # bytes
MEMORY_PARAMS = (
    "method", "dtype", "lora_r", "lora_dropout", "lora_target_modules", "bias", "use_dora", "bnb_4bit_use_double_quant",
    "num_virtual_tokens", "freeze_embeddings", "freeze_layers", "gradient_accumulation_steps", "gradient_checkpointing",
    "optim",
)  # fmt: skip
# Of each trained number in float32: itself, its gradient, AdamW's two moments. 16 bytes, as many as bfloat16 with
# float32 masters takes (2 + 2 + 4 + 8: Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054).
WEIGHT, GRADIENT, MOMENTS = 4, 4, 8
MOMENTS_8BIT = 2 + 8 / 256  # two bytes, and a float32 constant for 256 of them, twice (Dettmers et al. 2022)
CHUNK = 256  # rows of logits alive at a time, as in `tunelock.model.losses`
CHUNK_LOGITS = 6  # bytes a logit of a chunk at its peak: float32, and bfloat16 before or after
LOGITS = 12  # bytes a logit of a whole batch (capped heads): bfloat16, float32, two more on the way


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

        The first gradients appear as activations go, so the two are not summed but where gradients are accumulated.
        """
        passing = self.activations + max(self.logits, self.workspace)
        moving = passing + self.gradients if self.accumulates else max(passing, self.gradients + self.workspace)
        return self.weights + self.constants + self.optimiser + moving


def width(settings) -> int:
    """Bytes of a number in the dtype of the arithmetic."""
    return 4 if settings.dtype == "float32" else 2


def base_weights(a: Architecture, settings) -> tuple[float, float]:
    """Bytes of the base's frozen weights and of their quantisation constants.

    NF4 has a float32 constant for 64 weights; double quantisation makes it one byte and a float32 for 256 of those
    (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314). int8 has a float32 a row of a matrix.
    """
    e, total = width(settings), parameters(a)
    quantised = a.layers * sum(size[0] * size[1] for size in linears(a).values())
    if settings.method == "qlora":
        constant = 1 / 64 + 4 / (64 * 256) if settings.bnb_4bit_use_double_quant else 4 / 64
        return quantised / 2 + e * (total - quantised), quantised * constant
    if settings.method == "int8":
        return quantised + e * (total - quantised), 4 * a.layers * sum(size[1] for size in linears(a).values())
    if settings.method == "full":  # a step is smaller than bfloat16 can tell apart
        return WEIGHT * (total - trainable(a, settings)), 0
    return e * total, 0


def fused_mlp(layers: dict, settings) -> bool:
    """Whether `tunelock.training.kernels.fused` takes the three layers of an MLP together."""
    plain = settings.method == "lora" and not settings.lora_dropout and not settings.use_dora
    return plain and settings.bias != "lora_only" and {"gate_proj", "up_proj", "down_proj"} <= layers.keys()


def kept(a: Architecture, settings, length: int) -> float:
    """Bytes a token that one layer keeps for its backward pass; the module's docstring has the sum."""
    e, q, k = width(settings), a.heads * a.head_dim, a.kv_heads * a.head_dim
    layers = linears(a) if settings.method == "int8" else adapted(a, settings)
    total = a.norms * 4 * a.hidden + e * (2 * q + 2 * k) + 4 * a.heads
    mlp_is_one = fused_mlp(layers, settings)
    total += (2 if mlp_is_one else 3) * e * a.intermediate
    if settings.method == "prefix":
        total += 2 * e * (q - k) + e * (length + settings.num_virtual_tokens)
    total += (2 * e + 4) * a.heads * length * a.capped
    blocks = (ATTENTION[:3], ("gate_proj", "up_proj"))
    total += e * a.hidden * sum(any(name in layers for name in names) for names in blocks)
    total += e * a.intermediate * ("down_proj" in layers and not mlp_is_one)
    if settings.method == "full":
        return total + a.norms * 4 * a.hidden + 3 * e * a.hidden * (e < WEIGHT)
    for inputs, outputs in adapted(a, settings).values():
        total += e * settings.lora_r + (e + 1) * inputs * (settings.lora_dropout > 0)
        total += 2 * e * outputs * settings.use_dora
    return total


def activations(a: Architecture, settings, batch: Batch) -> float:
    """Bytes kept between the forward and the backward pass of a batch."""
    e = width(settings)
    longer = settings.num_virtual_tokens if settings.method in ("prompt", "ptuning") else 0
    tokens = batch.rows * (batch.length + longer)
    layers = a.layers - (settings.freeze_layers if settings.method == "full" and settings.freeze_embeddings else 0)
    ends = (4 + 2 * e) * a.hidden * tokens + 2 * e * a.hidden * batch.labelled  # last norm; states at the head
    prefix = 2 * e * a.heads * a.head_dim * settings.num_virtual_tokens * batch.rows * (settings.method == "prefix")
    one = tokens * kept(a, settings, batch.length + longer)
    if settings.gradient_checkpointing:
        return ends + tokens * layers * e * a.hidden + one + a.layers * prefix
    return ends + layers * (one + prefix)


def memory(a: Architecture, settings, batch: Batch) -> Memory:
    """The memory of a training step."""
    e, trained = width(settings), trainable(a, settings)
    weights, constants = base_weights(a, settings)
    moments = MOMENTS if settings.optim == "adamw_torch" else MOMENTS_8BIT
    head = e * a.vocab * a.hidden * (settings.method == "full" and not (a.tied and settings.freeze_embeddings))
    whole, chunked = (
        3 * e * batch.rows * batch.length + LOGITS * batch.labelled,
        CHUNK_LOGITS * min(CHUNK, batch.labelled),
    )
    dense = e * max(size[0] * size[1] for size in linears(a).values()) * (settings.method in ("qlora", "int8"))
    return Memory(
        weights=weights + WEIGHT * trained,
        constants=constants,
        gradients=GRADIENT * trained,
        # Paged states move to the host when the device is full.
        optimiser=0 if settings.optim.startswith("paged") else moments * trained,
        activations=activations(a, settings, batch) + (e * trained if e < WEIGHT else 0),  # the copies of autocast
        logits=(whole if a.capped else chunked) * a.vocab + head,
        workspace=4 * e * a.intermediate * batch.rows * batch.length + dense,
        accumulates=settings.gradient_accumulation_steps > 1,
    )


def flops(a: Architecture, settings, length: float, labelled_share: float) -> float:
    """Floating-point operations a token: 2 a weight forward, 2 for the gradient of its input, 2 more for its own.

    Causal attention multiplies half of the square of the length, forward twice and backward five times (Dao 2023,
    https://arxiv.org/abs/2307.08691). Gradient checkpointing adds a forward pass.
    """
    body, head = a.layers * sum(size[0] * size[1] for size in linears(a).values()), a.vocab * a.hidden
    attention = a.layers * length * a.heads * a.head_dim
    forward = 2 * body + 2 * attention
    trained = trainable(a, settings)
    own = 4 * trained if settings.method in LORA else 0  # the adapters' forward pass, and the way back through them
    total = forward * (2 if settings.gradient_checkpointing else 1) + 2 * body + 5 * attention + own + 2 * trained
    return total + 4 * head * labelled_share


class Disk(NamedTuple):
    """Bytes on disk by part, in the work space; DVC's cache holds all but the checkpoints once more."""

    base: float
    checkpoints: float
    adapter: float
    merged: float


def disk(a: Architecture, settings, save_total_limit: int) -> Disk:
    """The files of a run; one checkpoint more than the limit is there while it is being written."""
    trained, whole = trainable(a, settings), parameters(a)
    saved = WEIGHT * trained if settings.method != "full" else WEIGHT * trained + width(settings) * (whole - trained)
    moments = MOMENTS if settings.optim in ("adamw_torch", "paged_adamw_32bit") else MOMENTS_8BIT
    model = width(settings) * whole
    return Disk(model, (save_total_limit + 1) * (saved + moments * trained), saved, model)
