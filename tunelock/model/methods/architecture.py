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
    norms: int = 2  # norms of width `hidden` in a layer; Gemma has 4
    capped: bool = False  # Gemma 2 bounds scores and logits by a tanh, which SDPA and our chunked loss do not know
    qk_norm: int = 0  # weights of the norms of queries and keys in a layer
    joined: bool = False  # Phi-3 has one layer for queries, keys and values, and one for gate and up
    experts: int = 0  # MLPs of a layer, of which a router picks `chosen` for a token; 0 where there is one for all
    chosen: int = 1
    biased: bool = False  # gpt-oss: attention, router and experts have biases, and each head a sink

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
        """Inputs and outputs of each linear layer of a block; experts are tensors, so none is here."""
        back, down = {"o_proj": (self.query_width, self.hidden)}, {"down_proj": (self.intermediate, self.hidden)}
        if self.joined:
            front = {"qkv_proj": (self.hidden, self.query_width + 2 * self.key_width)}
            return front | back | {"gate_up_proj": (self.hidden, 2 * self.intermediate)} | down
        keys, up = (self.hidden, self.key_width), (self.hidden, self.intermediate)
        attention = {"q_proj": (self.hidden, self.query_width), "k_proj": keys, "v_proj": keys, **back}
        return attention if self.experts else attention | {"gate_proj": up, "up_proj": up, **down}

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers of all blocks."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def active_weights(self) -> int:
        """Weights that a token is multiplied with in all blocks: the linear layers and the chosen experts."""
        chosen = self.chosen * 3 * self.hidden * self.intermediate if self.experts else 0
        return self.linear_weights + self.layers * chosen

    @property
    def mlp_width(self) -> int:
        """Numbers between up and down of a token."""
        return self.chosen * self.intermediate

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer."""
        biases = self.query_width + 2 * self.key_width if self.qkv_bias or self.biased else 0
        experts = self.experts * self.hidden * (1 + 3 * self.intermediate)  # and their row of the router
        if self.biased:
            biases += self.heads + self.hidden + self.experts * (1 + 2 * self.intermediate + self.hidden)
        return self.linear_weights // self.layers + experts + biases + self.norms * self.hidden + self.qk_norm

    @property
    def parameters(self) -> int:
        """All parameters of the model; a head tied to the embeddings counts once."""
        return self.layers * self.layer_parameters + self.vocab * self.hidden * (1 if self.tied else 2) + self.hidden


def read_architecture(config: dict) -> Architecture:
    """The shape out of a `config.json` of the kind of Llama, Mistral, Qwen2, Qwen3, Gemma 2 and 3, Phi-3, SmolLM3,
    OLMo 2 or gpt-oss; `KeyError` for others (GPT-2)."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    kind = config.get("model_type", "llama")
    head_dim, kv_heads = config.get("head_dim") or hidden // heads, config.get("num_key_value_heads") or heads
    normed = {"qwen3": 2, "qwen3_moe": 2, "gemma3_text": 2, "olmo2": heads + kv_heads}  # Qwen3: one for all heads
    experts = config.get("num_experts") or config.get("num_local_experts") or 0
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        intermediate=(experts and config.get("moe_intermediate_size")) or config["intermediate_size"],
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=config["vocab_size"],
        tied=config.get("tie_word_embeddings", kind.startswith("gemma")),
        qkv_bias=kind == "qwen2",
        norms=4 if kind in ("gemma2", "gemma3_text") else 2,
        capped=kind == "gemma2" or bool(config.get("final_logit_softcapping")),
        qk_norm=normed.get(kind, 0) * head_dim,
        joined=kind == "phi3",
        experts=experts,
        chosen=config["num_experts_per_tok"] if experts else 1,
        biased=kind == "gpt_oss",
    )
