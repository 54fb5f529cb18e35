"""Small tokenizers of the kinds that models have, trained on a few words, and templates that lead to an answer."""

import functools

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CONTROLS = ("<unk>", "<s>", "</s>", "<|start|>", "<|end|>")
WORDS = ["In Paris, x = 1. Or  2?\n\nYes    no\n said [INST] a [/INST] system user assistant Assistant: er"] * 3
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is Paris?"},
    {"role": "assistant", "content": "In France."},
    {"role": "user", "content": "And Rome?"},
    {"role": "assistant", "content": "In Italy."},
]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATES = {
    "chatml": "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}",
    "ends with a blank": "{% for m in messages %}{% if m.role == 'assistant' %}Assistant: {{ m.content }}<|end|>"
    "{% else %}{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}",
    "ends with two line ends": "<s>{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}",
    "leads with a blank": "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }} </s>"
    "{% else %}<s>[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}",
    "ends with a control token": "<s>{% for m in messages %}<|start|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>{% endif %}",
}


def _split_by(pattern: str, trims: bool = False) -> Tokenizer:
    made = Tokenizer(models.BPE())
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence(parts)
    made.decoder = decoders.ByteLevel()
    if trims:
        made.post_processor = processors.ByteLevel(trim_offsets=True)
    return made


def _replace_blanks(*first: normalizers.Normalizer) -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def _metaspace(scheme: str, model: models.Model, split: bool = False) -> Tokenizer:
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def _blank_first() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    return made


def _fallback() -> models.BPE:
    return models.BPE(unk_token="<unk>", byte_fallback=True)


KINDS = {
    "GPT-2": lambda: _split_by(GPT2),
    "trims offsets": lambda: _split_by(GPT2, trims=True),
    "Llama 3": lambda: _split_by(LLAMA3),
    "Phi-3": lambda: _replace_blanks(normalizers.Prepend("▁")),  # whose control tokens take white space in
    "Llama 2": lambda: _replace_blanks(normalizers.Prepend("▁")),
    "Gemma": _replace_blanks,
    "Mistral": lambda: _metaspace("always", _fallback()),
    "Llama 2, not legacy": lambda: _metaspace("first", _fallback()),
    "T5": lambda: _metaspace("always", models.Unigram(), split=True),
    "RoBERTa": _blank_first,
}


@functools.cache
def make_small_tokenizer(kind: str, template: str = "chatml") -> PreTrainedTokenizerFast:
    """A tokenizer of one of `KINDS` with one of `TEMPLATES`."""
    made, takes = KINDS[kind](), kind == "Phi-3"
    special = [AddedToken(name, special=True, normalized=False, rstrip=takes) for name in CONTROLS]
    some = {"special_tokens": special, "vocab_size": 420, "show_progress": False}
    if kind == "T5":
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **some)
    else:
        alphabet = pre_tokenizers.ByteLevel.alphabet() if isinstance(made.decoder, decoders.ByteLevel) else []
        if not alphabet:
            some["special_tokens"] = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **some)
    blanks, made.pre_tokenizer = made.pre_tokenizer, made.pre_tokenizer or pre_tokenizers.Split("▁", "merged_with_next")
    if isinstance(blanks, pre_tokenizers.Metaspace):
        made.pre_tokenizer = pre_tokenizers.Metaspace(split=True)  # a word has its blank before it
    made.train_from_iterator(WORDS, trainer)
    made.pre_tokenizer = blanks
    fast = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="<|end|>")
    fast.chat_template = TEMPLATES[template]
    return fast
