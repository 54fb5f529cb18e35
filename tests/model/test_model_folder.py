"""What base and merge write is read alike by Transformers 4.57 and 5: the same tokens, loss and answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from stages.base import TO_LEARN, save_resolved
from stages.merge import merge
from tests.model.read_folders import TEXT, read_folder
from tunelock.model import model_folder
from tunelock.model.model_folder import save_model
from tunelock.model.provenance import copy_weights
from tunelock.rendering.tokenizer_folder import OF_THIS_MACHINE, save_tokenizer
from tunelock.run.files import read_json

READER = Path(__file__).with_name("read_folders.py")
TRANSFORMERS4 = Path(os.environ.get("TRANSFORMERS4", Path(sys.prefix, "transformers4")))  # `make test` puts it there
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
SPECIAL = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<pad>", "unk_token": "<unk>"}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
THETA = {"rope_theta": 500.0, "rope_type": "default"}
LLAMA_3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
GEMMA_3 = {"full_attention": THETA | {"rope_type": "linear", "factor": 8.0}, "sliding_attention": THETA}
LAYERS = ["sliding_attention", "full_attention"]
# Architecture, how its tokenizer splits, the tokenizer's class in version 5, settings.
MODELS = {
    "Llama": ("bytes", None, {"rope_parameters": LLAMA_3 | {"original_max_position_embeddings": 64}}),
    "Qwen3": ("bytes", "Qwen2Tokenizer", {"rope_parameters": THETA}),
    "Gemma3": ("spaces", "GemmaTokenizer", {"rope_parameters": GEMMA_3, "layer_types": LAYERS, "sliding_window": 16}),
    "Mistral": ("spaces", "LlamaTokenizer", {"rope_parameters": THETA, "sliding_window": 16}),
    "GPTNeoX": ("prefix", None, {"rope_parameters": THETA | {"partial_rotary_factor": 0.5}}),
    "Qwen3Moe": ("bytes", None, {"rope_parameters": THETA, "num_experts": 4, "num_experts_per_tok": 2}),
}


def make_tokenizer(split: str, name: str | None):
    """A small tokenizer that splits at bytes (GPT-2, Llama 3), with a blank put first, or as SentencePiece does."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=split == "spaces"))
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    if split == "spaces":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=split == "prefix")
        made.decoder, alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
    special = [*SPECIAL.values(), *(alphabet if split == "spaces" else [])]
    begin = alphabet if split != "spaces" else []
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=begin, show_progress=False)
    made.train_from_iterator([TEXT], trainer)
    if name is None:
        more = {"extra_special_tokens": ["<tool>"], "chat_template": CHATML}
        return PreTrainedTokenizerFast(tokenizer_object=made, **SPECIAL, **more)
    model = json.loads(made.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    return getattr(transformers, name)(vocab=model["vocab"], merges=merges, **SPECIAL, chat_template=CHATML)


def make_source(name: str, folder: Path) -> Path:
    """A tiny random model as its makers would publish it, whose weights are large enough to tell thetas apart."""
    split, tokenizer_class, settings = MODELS[name]
    tokenizer = make_tokenizer(split, tokenizer_class)
    kind = getattr(transformers, f"{name}TextConfig", None) or getattr(transformers, f"{name}Config")
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    config = kind(vocab_size=len(tokenizer), **SIZES, **ends, **settings)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Base folders of tiny models, one of them with a new token, and what merge and full training write of that one."""
    place = tmp_path_factory.mktemp("folders")
    found = {}
    for name in MODELS:
        found[name] = place / name
        tokens = ["<|code|>"] if name == "Llama" else []
        save_resolved(make_source(name, place / f"{name}-source"), found[name], "float32", None, tokens)
    model = AutoModelForCausalLM.from_pretrained(found["Llama"])
    model.save_pretrained(place / "checkpoint")
    copy_weights(place / "checkpoint", make_folder(place / "full"))
    save_tokenizer(transformers.AutoTokenizer.from_pretrained(found["Llama"]), place / "full")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(place / "adapter")
    rows = [{"input_ids": list(range(90))}]
    merge(found["Llama"], place / "adapter", make_folder(place / "merged"), rows, "float32", {"method": "lora"})
    return found | {"full": place / "full", "merged": place / "merged"}


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_version_4_and_5_give_the_same_tokens_loss_and_answer(folders):
    """In a process of its own, with the last version 4 before the installed one on the path and the same torch."""
    assert TRANSFORMERS4.exists(), f"{TRANSFORMERS4} is missing; `make test` puts Transformers 4 there."
    environment = {**os.environ, "PYTHONPATH": str(TRANSFORMERS4), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, READER, *folders.values()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = dict(zip(folders, map(json.loads, done.stdout.splitlines()), strict=True))
    for name, folder in folders.items():
        expected = read_folder(folder)
        assert seen[name].pop("loss") == pytest.approx(expected.pop("loss"), abs=1e-5), name
        assert seen[name] == expected, name
    for name in ("Llama", "full", "merged"):
        assert len(seen[name]["special"]) == len(SPECIAL) + 1  # <tool> too
        assert read_json(folders["Llama"] / TO_LEARN)["ids"][0] in seen[name]["encoded"]["input_ids"][0]


def test_base_gives_the_tokens_and_loss_of_its_source(folders):
    for name in set(MODELS) - {"Llama"}:  # which has a new token
        source, base = read_folder(folders[name].with_name(f"{name}-source")), read_folder(folders[name])
        assert base["loss"] == pytest.approx(source["loss"], abs=1e-6)
        assert base["encoded"] == source["encoded"]


def test_no_folder_says_how_it_was_loaded_here(folders):
    for folder in folders.values():
        said = json.loads((folder / "tokenizer_config.json").read_text())
        assert not set(OF_THIS_MACHINE) & set(said)
        assert not any(str(folder.parent) in file.read_text() for file in folder.glob("*.json"))


def test_large_weights_are_written_as_several_files(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "SHARD_SIZE", "50KB")
    model = AutoModelForCausalLM.from_pretrained(folders["Qwen3"])
    save_model(model, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    again = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
