"""Tiny GGUF files: a random Llama of one layer and a byte-level vocabulary, made in a tenth of a second."""

import json
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = "Where is Paris? In France, 1234 km from Rome.\n\nIT'S there, isn't it? Das Übrige  steht im Text. "
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WIDTH, INNER = 16, 24


def make_vocabulary(text: str = TEXT, vocab_size: int = 400) -> Tokenizer:
    """A byte-level vocabulary that was learnt over words of any kind, so that merges cross whatever a split cuts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([text] * 2, trainer)
    return made


def remove_merges(vocabulary: Tokenizer, token: str) -> Tokenizer:
    """The same tokens, of which `token` can no longer be made out of two others."""
    said = json.loads(vocabulary.to_str())
    said["model"]["merges"] = [pair for pair in said["model"]["merges"] if "".join(pair) != token]
    return Tokenizer.from_str(json.dumps(said))


def write_gguf(file: Path, pre: str | None, vocabulary: Tokenizer) -> Path:
    """Write a Llama with `vocabulary`, whose text is split as `tokenizer.ggml.pre` says."""

    model = json.loads(vocabulary.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    out = GGUFWriter(file, "llama")
    out.add_context_length(512)
    out.add_embedding_length(WIDTH)
    out.add_block_count(1)
    out.add_feed_forward_length(INNER)
    out.add_head_count(2)
    out.add_head_count_kv(2)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(5000.0)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    if pre:
        out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types([TokenType.CONTROL if token in CONTROL else TokenType.NORMAL for token in tokens])
    out.add_token_merges([" ".join(pair) for pair in model["merges"]])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_pad_token_id(0)
    out.add_chat_template(CHATML)
    random = np.random.default_rng(0)
    square, wide, table = (WIDTH, WIDTH), (INNER, WIDTH), (len(tokens), WIDTH)
    shapes = {f"blk.0.attn_{part}.weight": square for part in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{part}.weight": wide for part in ("gate", "up")} | {"blk.0.ffn_down.weight": wide[::-1]}
    shapes |= dict.fromkeys(("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"), (WIDTH,))
    for name, shape in (shapes | {"token_embd.weight": table, "output.weight": table}).items():
        out.add_tensor(name, random.standard_normal(shape).astype(np.float32) * 0.3)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return file
