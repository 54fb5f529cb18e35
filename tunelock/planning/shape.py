"""The shape of a decoder, and what follows from it by counting: its parameters, and those that a method trains.

`settings` is anything with the attributes of `tunelock.planning.memory.MEMORY_PARAMS`, such as a stage's params.
"""

from typing import NamedTuple

LORA = ("lora", "qlora", "int8")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
GROUPS = {"attention": ATTENTION, "attention-qv": ("q_proj", "v_proj")}


class Architecture(NamedTuple):
    """The shape of a decoder: layers, widths, and what sets its parameters apart from Llama's."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    qkv_bias: bool = False
    norms: int = 2  # norms of width `hidden` in a layer; Gemma 2 has 4
    capped: bool = False  # Gemma 2 bounds scores and logits by a tanh, which SDPA and our chunked loss do not know


def architecture(config: dict) -> Architecture:
    """The shape out of a `config.json` of the Llama, Mistral, Qwen2 or Gemma 2 kind; `KeyError` for others (GPT-2)."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    kind = config.get("model_type", "llama")
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        vocab=config["vocab_size"],
        tied=config.get("tie_word_embeddings", kind.startswith("gemma")),
        qkv_bias=kind == "qwen2",
        norms=4 if kind == "gemma2" else 2,
        capped=bool(config.get("attn_logit_softcapping") or config.get("final_logit_softcapping")),
    )


def linears(a: Architecture) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each linear layer of a block."""
    q, k = a.heads * a.head_dim, a.kv_heads * a.head_dim
    attention = {"q_proj": (a.hidden, q), "k_proj": (a.hidden, k), "v_proj": (a.hidden, k), "o_proj": (q, a.hidden)}
    up = (a.hidden, a.intermediate)
    return attention | {"gate_proj": up, "up_proj": up, "down_proj": (a.intermediate, a.hidden)}


def block(a: Architecture) -> int:
    """Parameters of one layer."""
    biases = sum(linears(a)[name][1] for name in ATTENTION[:3]) if a.qkv_bias else 0
    return sum(size[0] * size[1] for size in linears(a).values()) + biases + a.norms * a.hidden


def parameters(a: Architecture) -> int:
    """All parameters of the model; a head tied to the embeddings counts once."""
    return a.layers * block(a) + a.vocab * a.hidden * (1 if a.tied else 2) + a.hidden


def adapted(a: Architecture, settings) -> dict[str, tuple[int, int]]:
    """The linear layers of a block that the method adapts or trains."""
    if settings.method == "full":
        return linears(a)
    if settings.method not in LORA:
        return {}
    wanted = settings.lora_target_modules
    names = wanted if isinstance(wanted, list) else GROUPS.get(wanted, linears(a))
    return {name: size for name, size in linears(a).items() if name in names}


def trainable(a: Architecture, settings) -> int:
    """Trained parameters, as PEFT counts them."""
    k, tokens = a.kv_heads * a.head_dim, settings.num_virtual_tokens
    if settings.method == "full":
        frozen = a.vocab * a.hidden if settings.freeze_embeddings else 0
        return parameters(a) - frozen - settings.freeze_layers * block(a)
    if settings.method in LORA:
        layers = adapted(a, settings)
        biased = [name for name in ATTENTION[:3] if a.qkv_bias and (settings.bias == "all" or name in layers)]
        biases = sum(linears(a)[name][1] for name in biased) if settings.bias != "none" else 0
        magnitudes = sum(size[1] for size in layers.values()) if settings.use_dora else 0
        return a.layers * (sum(settings.lora_r * sum(size) for size in layers.values()) + magnitudes + biases)
    encoder = 3 * (a.hidden + 1) * a.hidden if settings.method == "ptuning" else 0
    return tokens * 2 * a.layers * k if settings.method == "prefix" else tokens * a.hidden + encoder
