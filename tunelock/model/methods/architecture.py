"""The shape of a decoder, and what follows from it by counting."""

from typing import NamedTuple

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


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

    @property
    def query_width(self) -> int:
        """Numbers in the queries of a token."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Numbers in the keys of a token, and in its values."""
        return self.kv_heads * self.head_dim

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer of a block."""
        keys, up = (self.hidden, self.key_width), (self.hidden, self.intermediate)
        return {
            "q_proj": (self.hidden, self.query_width),
            "k_proj": keys,
            "v_proj": keys,
            "o_proj": (self.query_width, self.hidden),
            "gate_proj": up,
            "up_proj": up,
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers of all blocks."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer."""
        layers = self.linear_layers
        biases = sum(layers[name][1] for name in ATTENTION[:3]) if self.qkv_bias else 0
        return self.linear_weights // self.layers + biases + self.norms * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters of the model; a head tied to the embeddings counts once."""
        return self.layers * self.layer_parameters + self.vocab * self.hidden * (1 if self.tied else 2) + self.hidden


def read_architecture(config: dict) -> Architecture:
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
