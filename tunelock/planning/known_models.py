"""Model families that are known by name: their shape, where they are, and what their chat format needs.

The shapes are those of each model's `config.json`; the parameters counted from them are the hub's own count of the
weights (tests/planning/test_configure.py). A revision is a commit of the hub as public projects pin it:
`<hub>/tree/<revision>` shows it. Nothing here is fetched or trusted: the hub gives the bytes of that commit or none.
"""

from dataclasses import dataclass
from typing import Any

from tunelock.model.methods.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Family:
    """One model: the facts that configuring and estimating need without its files.

    `context` is in tokens. `end_of_turn` is the control token that closes an answer. `chat_template` is the file of
    ours that is installed, None where the tokenizer's own serves.
    """

    hub_id: str
    revision: str
    architecture: Architecture
    context: int
    licence: str
    gated: bool  # the licence is accepted on the hub, or contact data given, before it can be fetched
    end_of_turn: str
    chat_template: str | None = None

    @property
    def parameters(self) -> int:
        """Weights of the model, a head that is tied to the embeddings counted once."""
        return self.architecture.parameters


LLAMA_2: dict[str, Any] = {
    "context": 4096,
    "licence": "Llama 2 Community License",
    "gated": True,
    "end_of_turn": "</s>",
    # The published tokenizers got a template late, the base models none.
    "chat_template": "templates/llama-2.jinja",
}
LLAMA_3: dict[str, Any] = {
    "context": 131072,
    "licence": "Llama 3.1 Community License",
    "gated": True,
    "end_of_turn": "<|eot_id|>",
}
SMOLLM2: dict[str, Any] = {"context": 8192, "licence": "Apache-2.0", "gated": False, "end_of_turn": "<|im_end|>"}

# Architecture: layers, hidden, intermediate, heads, kv_heads, head_dim, vocab, tied
FAMILIES = {
    "llama-2-7b": Family(
        "meta-llama/Llama-2-7b-chat-hf",
        "f5db02db724555f92da89c216ac04704f23d4590",  # vLLM's tests of speculative decoding name it
        Architecture(32, 4096, 11008, 32, 32, 128, 32000, False),
        **LLAMA_2,
    ),
    "llama-2-13b": Family(
        "meta-llama/Llama-2-13b-chat-hf",
        "a2cb7a712bb6e5e736ca7f8cd98167f81a0b5bd8",
        Architecture(40, 5120, 13824, 40, 40, 128, 32000, False),
        **LLAMA_2,
    ),
    "llama-2-70b": Family(
        "meta-llama/Llama-2-70b-chat-hf",
        "e9149a12809580e8602995856f8098ce973d1080",
        Architecture(80, 8192, 28672, 64, 8, 128, 32000, False),
        **LLAMA_2,
    ),
    "llama-3.1-8b": Family(
        "meta-llama/Llama-3.1-8B-Instruct",
        "0e9e39f249a16976918f6564b8830bc894c89659",
        Architecture(32, 4096, 14336, 32, 8, 128, 128256, False),
        **LLAMA_3,
    ),
    "llama-3.1-70b": Family(
        "meta-llama/Llama-3.1-70B-Instruct",
        "1605565b47bb9346c5515c34102e054115b4f98b",
        Architecture(80, 8192, 28672, 64, 8, 128, 128256, False),
        **LLAMA_3,
    ),
    "mistral-7b-v0.3": Family(
        "mistralai/Mistral-7B-Instruct-v0.3",
        "e0bc86c23ce5aae1db576c8cca6f06f1f73af2db",  # the tests of Modular's MAX and of tt-metal name it
        Architecture(32, 4096, 14336, 32, 8, 128, 32768, False),
        context=32768,
        licence="Apache-2.0",
        gated=True,
        end_of_turn="</s>",
        chat_template="templates/mistral-7b-v0.3.jinja",  # its own moves the system text from turn to turn
    ),
    "qwen2-7b": Family(
        "Qwen/Qwen2-7B-Instruct",
        "f2826a00ceef68f0f2b946d945ecc0477ce4450c",
        Architecture(28, 3584, 18944, 28, 4, 128, 152064, False, qkv_bias=True),
        context=32768,
        licence="Apache-2.0",
        gated=False,
        end_of_turn="<|im_end|>",
    ),
    "gemma-2-9b": Family(
        "google/gemma-2-9b-it",
        "11c9b309abf73637e4b6f9a3fa1e92e615547819",
        Architecture(42, 3584, 14336, 16, 8, 256, 256000, True, norms=4, capped=True),
        context=8192,
        licence="Gemma Terms of Use",
        gated=True,
        end_of_turn="<end_of_turn>",
        chat_template="templates/gemma-2.jinja",  # its own refuses a system message
    ),
    "smollm2-135m": Family(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "12fd25f77366fa6b3b4b768ec3050bf629380bac",
        Architecture(30, 576, 1536, 9, 3, 64, 49152, True),
        **SMOLLM2,
    ),
    "smollm2-360m": Family(
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "a10cc1512eabd3dde888204e902eca88bddb4951",
        Architecture(32, 960, 2560, 15, 5, 64, 49152, True),
        **SMOLLM2,
    ),
    "smollm2-1.7b": Family(
        "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "31b70e2e869a7173562077fd711b654946d38674",
        Architecture(24, 2048, 8192, 32, 32, 64, 49152, True),
        **SMOLLM2,
    ),
}


def find_family(name: str) -> Family | None:
    """The family of that name, or with that hub id, whatever the case of its letters."""
    wanted = name.casefold()
    by_hub_id = {family.hub_id.casefold(): family for family in FAMILIES.values()}
    return FAMILIES.get(wanted) or by_hub_id.get(wanted)
