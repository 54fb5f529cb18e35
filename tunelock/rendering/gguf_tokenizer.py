"""The tokenizer in a GGUF file, with text split as the file's `tokenizer.ggml.pre` says.

A GGUF file names how text is cut before pieces are merged, and llama.cpp knows what each name means
(https://github.com/ggml-org/llama.cpp, src/llama-vocab.cpp). Transformers knows some of the names; for the
others it splits as GPT-2 does, without a word. So numbers and blanks become other tokens than the model has learnt.
"""

from pathlib import Path

from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.integrations.gguf import read_gguf_metadata
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from tunelock.rendering.rendering import load_tokenizer

READING = 2  # raise it when a file gives another tokenizer than before: previews keep those that they made

# Split as GPT-2 does, which is what Transformers takes for every name that it does not know.
_AS_GPT2 = {"a.x-4.0", "exaone4", "gigachat", "gpt-2", "granite-docling", "jais", "jina-de", "jina-es", "jina-v1-en",
            "jina-v2-code", "jina-v2-de", "jina-v2-es", "mellum", "modern-bert", "mpt", "olmo", "phi-2", "roberta-bpe",
            "trillion"}  # fmt: skip
# As GPT-2 does, each digit for itself.
_DIGITS_APART = {"codeshell", "command-r", "exaone", "mellum2", "minerva-7b", "refact", "smollm", "starcoder"}
_SAME_AS = {
    "stablelm2": "qwen2",
    "hunyuan": "qwen2",
    "solar-open": "qwen2",
    "grok-2": "qwen2",
    "glm4": "llama-bpe",
    "chatglm-bpe": "llama-bpe",
}
# Pieces that are tokens stay whole even where no merges lead there, and a text begins with the BOS token.
_WHOLE_PIECES = {"falcon-h1", "falcon3", "jina-v5-nano", "lfm2", "llama-bpe", "llama-v3", "llama3", "midm-2.0",
                 "pixtral", "tekken"}  # fmt: skip


def load_source_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model folder or GGUF file."""
    if source.suffix != ".gguf":
        return load_tokenizer(source)
    options = {"local_files_only": True, "trust_remote_code": False, "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **options)
    said, _ = read_gguf_metadata(str(source))
    name, backend = said.get("tokenizer.ggml.pre"), tokenizer.backend_tokenizer
    if said.get("tokenizer.ggml.model") != "gpt2":
        return tokenizer
    if name in _DIGITS_APART:
        digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
    if name in _SAME_AS:
        split = pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[_SAME_AS[name]]), behavior="isolated")
        rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, rest])
    if name in _WHOLE_PIECES:
        backend.model.ignore_merges = True
        if "tokenizer.ggml.add_bos_token" not in said and tokenizer.bos_token:
            tokenizer.add_bos_token = True
    return tokenizer


def doubt_split(source: Path) -> str:
    """Why the tokens of a GGUF file may be others than its model has learnt; empty where they are the same."""
    said = read_gguf_metadata(str(source))[0] if source.suffix == ".gguf" else {}
    name = said.get("tokenizer.ggml.pre")
    if said.get("tokenizer.ggml.model") != "gpt2":  # SentencePiece has one way to split
        return ""
    if name in _AS_GPT2 | _DIGITS_APART | _SAME_AS.keys() | GGUF_PRE_TOKENIZER_SPLITS.keys():
        return ""
    why = f"names the split '{name}', which is not known here" if name else "does not say how its tokenizer splits"
    return f"{source.name} {why}: numbers and blanks may become other tokens than the model has learnt; use safetensors"
