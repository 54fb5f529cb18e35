"""The base model comes from a wheel, a folder, a GGUF file or a hub commit, and nothing unpinned gets in."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.base import locate_model, save_resolved
from tests.rendering.small_tokenizers import TALK
from tunelock.rendering.conversation import IGNORE, render_messages, render_prompt
from tunelock.rendering.rendering import load_tokenizer
from tunelock.rendering.template import apply_template
from tunelock.rendering.vocabulary import NEW_PAD, install_template, set_pad_token
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[2]


def test_a_local_folder_becomes_the_same_model(tiny_model, tmp_path):
    from tunelock.model.modeling import load_model

    save_resolved(locate_model(str(tiny_model), sha256_path(tiny_model), tmp_path), tmp_path / "base", "bfloat16")
    pairs = zip(
        load_model(tiny_model, "bfloat16").state_dict().items(), load_model(tmp_path / "base", "bfloat16").parameters()
    )
    assert all(torch.equal(tensor, other) for (_, tensor), other in pairs)


def test_a_folder_whose_content_differs_from_its_pin_stops(tiny_model, tmp_path):
    with pytest.raises(Stop, match=r"params\.yaml pins 0000"):
        locate_model(str(tiny_model), "0" * 64, tmp_path)


@pytest.mark.parametrize("revision", ["main", "0" * 64, COMMIT[:7]])
def test_a_hub_model_without_a_whole_commit_stops(revision, tmp_path):
    with pytest.raises(Stop, match="40-digit commit"):
        locate_model("org/model", revision, tmp_path)


def test_a_hub_model_is_read_from_the_hubs_cache_layout(tiny_model, tmp_path):
    """Offline, through the real loading code: the hub's cache holds the tiny model and a pickle beside it."""
    snapshot = tmp_path / "hub" / "models--org--model" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    os.symlink(tiny_model, snapshot)
    call = f"locate_model('org/model', '{COMMIT}', Path('.'))"
    code = f"from stages.base import locate_model; from pathlib import Path; print({call})"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == snapshot
    absent = code.replace(COMMIT, COMMIT[::-1])
    done = subprocess.run([sys.executable, "-c", absent], env=env, capture_output=True, text=True, check=False)
    assert "go online once" in done.stderr


def test_a_folder_without_safetensors_stops(tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((tiny_model / "config.json").read_text())
    with pytest.raises(Stop, match="holds no model"):
        save_resolved(tmp_path / "empty", tmp_path / "base", "bfloat16")


def test_the_real_gguf_is_dequantised_into_a_plain_folder(real_gguf, tmp_path):
    save_resolved(real_gguf, tmp_path / "base", "bfloat16")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["model_type"], config["hidden_size"], config["num_hidden_layers"]) == ("llama", 576, 30)
    assert (tmp_path / "base" / "model.safetensors").stat().st_size == pytest.approx(134_515_008 * 2, rel=1e-3)
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "base").glob("*.json"))
    assert load_tokenizer(tmp_path / "base").pad_token == "<|im_end|>"  # as the file has it
    assert not (tmp_path / "base" / "added_token_ids.json").exists()
    assert json.loads((tmp_path / "base" / "generation_config.json").read_text())["eos_token_id"] == 2  # its own


def test_of_a_model_that_takes_images_the_text_model_is_kept(tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM, Gemma3Config

    size = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    text = {"vocab_size": len(tokenizer), "num_key_value_heads": 1, "head_dim": 8, **size}
    images = {"image_size": 28, "patch_size": 14, **size}
    torch.manual_seed(0)
    whole = AutoModelForCausalLM.from_config(
        Gemma3Config(text_config=text, vision_config=images, mm_tokens_per_image=1, eos_token_id=[2, 0])
    )
    whole.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    said = save_resolved(tmp_path / "source", tmp_path / "base", "float32")
    assert said.startswith("the text model alone of a gemma3")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert made.config.model_type == "gemma3_text" and not any("vision" in name for name, _ in made.named_modules())
    assert torch.equal(made(ids).logits[..., : len(tokenizer)], whole.eval()(ids).logits)  # behind it, a new pad token
    assert made.generation_config.eos_token_id == [2, 0]


def test_experts_in_mxfp4_become_dense_weights(tokenizer, tmp_path):
    """As gpt-oss is published. Transformers saves what it made dense under the names that the blocks had, and a model
    that is loaded from there gets experts at random."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, GptOssConfig

    config = GptOssConfig(num_hidden_layers=1, num_local_experts=2, hidden_size=64, intermediate_size=32, head_dim=16,
                          num_attention_heads=2, num_key_value_heads=1, vocab_size=len(tokenizer),
                          num_experts_per_tok=1)  # fmt: skip
    source = tmp_path / "source"
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    tokenizer.save_pretrained(source)
    weights, dense = load_file(source / "model.safetensors"), {}
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = weights.pop(name).shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
        weights[f"{name}_blocks"] = blocks
        weights[f"{name}_scales"] = torch.full(blocks.shape[:3], 124, dtype=torch.uint8)  # 2 ** -3
        pairs = torch.stack([blocks & 15, blocks >> 4], -1).flatten(2).long()  # the lower half of a byte comes first
        dense[name] = (numbers[pairs & 7] * (1 - 2 * (pairs >> 3)) / 8).transpose(1, 2)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((source / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.embed_tokens"]}
    (source / "config.json").write_text(json.dumps(settings))
    save_resolved(source, tmp_path / "base", "float32")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "base").state_dict()
    assert dense and all(torch.equal(found[name], weight) for name, weight in dense.items())


def test_a_folder_without_some_of_its_weights_stops(tiny_model, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model, tmp_path / "source")
    weights = load_file(tmp_path / "source/model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "source/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Stop, match=r"lacks 1 weights of its model, 'model.layers.1.mlp.up_proj.weight' first"):
        save_resolved(tmp_path / "source", tmp_path / "base", "float32")


def embeddings(folder: Path) -> torch.Tensor:
    from tunelock.model.modeling import load_model

    return load_model(folder, "bfloat16").get_input_embeddings().weight.detach()


def test_new_control_tokens_get_the_mean_embedding_and_their_ids_are_kept(tiny_model, tmp_path):
    said = save_resolved(tiny_model, tmp_path / "base", "bfloat16", None, ["<|code|>", "<|log|>", "<|code|>"])
    old, new = embeddings(tiny_model), embeddings(tmp_path / "base")
    ids = [len(old), len(old) + 1]
    assert json.loads((tmp_path / "base" / "added_token_ids.json").read_text()) == {"ids": ids}
    assert torch.equal(new[: len(old)], old)
    assert torch.equal(new[len(old) :], old.mean(0, dtype=torch.float32).to(old.dtype).expand(2, -1))
    tokenizer = load_tokenizer(tmp_path / "base")
    assert tokenizer.encode("<|log|>x<|code|>")[::2] == ids[::-1]
    assert tokenizer.decode([ids[0], tokenizer.eos_token_id], skip_special_tokens=True) == "<|code|>"
    assert "2 tokens to learn: 49152, 49153" in said


def test_the_base_freezes_the_date_and_says_so(tiny_model, templates):
    (templates / "dated.jinja").write_text("{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}<|im_end|>")
    said = save_resolved(tiny_model, templates / "base", "bfloat16", "templates/dated.jinja")
    assert "the date in its chat template is always 26 Jul 2024" in said
    asked = [{"role": "user", "content": "a"}]
    assert apply_template(load_tokenizer(templates / "base"), asked) == "26 Jul 2024a<|im_end|>"


def test_a_control_token_that_the_vocabulary_has_keeps_its_embedding(tiny_model, tmp_path):
    save_resolved(tiny_model, tmp_path / "base", "bfloat16", None, ["<repo_name>"])
    assert torch.equal(embeddings(tmp_path / "base"), embeddings(tiny_model))
    assert json.loads((tmp_path / "base" / "added_token_ids.json").read_text()) == {"ids": [3]}


def test_spare_rows_of_the_embeddings_are_used_before_they_are_extended(tokenizer, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    rows = len(tokenizer) + 8
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=False, **sizes))
    model.save_pretrained(tmp_path / "roomy")
    tokenizer.save_pretrained(tmp_path / "roomy")
    save_resolved(tmp_path / "roomy", tmp_path / "base", "float32", None, ["<|code|>"])
    from tunelock.model.modeling import load_model

    made = load_model(tmp_path / "base", "float32")
    for old, new in zip((model.model.embed_tokens, model.lm_head), (made.model.embed_tokens, made.lm_head)):
        mean = old.weight[: rows - 8].mean(0)
        assert torch.equal(new.weight, torch.cat([old.weight[: rows - 8], mean[None], old.weight[rows - 7 :]]))


def test_the_pad_token_of_a_folder_is_none_of_its_ends(tiny_model, tmp_path):
    """A collator that masks by the pad token would otherwise teach the model never to stop."""
    said = save_resolved(tiny_model, tmp_path / "base", "bfloat16")
    tokenizer = load_tokenizer(tmp_path / "base")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert said == "pad token <|endoftext|>; it was made for 2048 positions"
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "base" / name).read_text())["pad_token_id"] == tokenizer.pad_token_id


def test_a_token_without_a_row_of_embeddings_gets_one(tiny_model, tmp_path):
    """Transformers' Qwen2 tokenizer adds `<|endoftext|>` on loading; as a pad token without a row it fits no model."""
    source = shutil.copytree(tiny_model, tmp_path / "source")
    tokenizer = load_tokenizer(source)
    tokenizer.add_special_tokens({"pad_token": "<|late|>"})
    tokenizer.save_pretrained(source)
    said = save_resolved(source, tmp_path / "base", "float32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    rows = model.get_input_embeddings().weight
    assert "a new row of embeddings for <|late|>" in said
    assert len(rows) == len(tokenizer) and tokenizer.pad_token_id == len(tokenizer) - 1
    assert torch.allclose(rows[-1], rows[:-1].mean(0), atol=1e-6)


def test_a_pad_token_is_made_where_every_spare_one_ends_something(tiny_model):
    from tunelock.model.modeling import load_model

    model, tokenizer = load_model(tiny_model, "bfloat16"), load_tokenizer(tiny_model)
    model.generation_config.eos_token_id = [0, 2]  # <|endoftext|> and <|im_end|>
    assert set_pad_token(model, tokenizer) == f"{NEW_PAD}, which is new"
    assert tokenizer.pad_token == NEW_PAD
    assert model.config.pad_token_id == tokenizer.pad_token_id == model.config.vocab_size - 1


@pytest.fixture
def templates(tmp_path, monkeypatch) -> Path:
    """A working folder with a copy of templates/."""
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "templates"


def test_a_chat_template_is_saved_with_the_tokenizer(tiny_model, templates):
    (templates / "mine.jinja").write_text("{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    assert "chat template templates/mine.jinja" in save_resolved(
        tiny_model, templates / "base", "bfloat16", "templates/mine.jinja"
    )
    assert apply_template(load_tokenizer(templates / "base"), [{"role": "user", "content": "a"}]) == "a<|im_end|>"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("llama-2.jinja", "{{ messages }}", "is not as it was shipped"),
        ("mine.jinja", "{% for m in messages %}", "cannot be rendered"),
        ("mine.jinja", "{{ raise_exception('no') }}", "cannot be rendered"),
        ("nowhere.jinja", None, "there are: templates/chatml-tools.jinja, templates/gemma-2.jinja"),
    ],
)
def test_a_chat_template_that_cannot_serve_stops(tokenizer, templates, name, text, words):
    kept = tokenizer.chat_template
    if text:
        (templates / name).write_text(text)
    try:
        with pytest.raises(Stop, match=words):
            install_template(tokenizer, f"templates/{name}")
    finally:
        tokenizer.chat_template = kept


@pytest.fixture
def sentencepiece():
    """A tokenizer that is made like Llama 2's, trained on a few words: a token begins with the space before it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    texts = ["[INST] Where is Paris? And Rome? [/INST] In France. In Italy. <<SYS>>\nBe brief.\n<</SYS>>\n\n"] * 3
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    made.pre_tokenizer = None
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


# Meta: B_INST, E_INST, B_SYS and E_SYS of meta-llama/llama-recipes, src/llama_recipes/inference/chat_utils.py, each
# exchange encoded with its begin and end token. Google: https://ai.google.dev/gemma/docs/formatting. Mistral:
# https://docs.mistral.ai/cookbook/concept-deep-dive-tokenization-chat_templates, tokenizer v3, system text first.
DOCUMENTED = {
    "llama-2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhere is Paris? [/INST] In France. </s>"
    "<s>[INST] And Rome? [/INST] In Italy. </s>",
    "mistral-7b-v0.3": "<s>[INST] Be brief.\n\nWhere is Paris?[/INST] In France.</s>"
    "[INST] And Rome?[/INST] In Italy.</s>",
    "gemma-2": "<s><start_of_turn>user\nBe brief.\n\nWhere is Paris?<end_of_turn>\n<start_of_turn>model\nIn France."
    "<end_of_turn>\n<start_of_turn>user\nAnd Rome?<end_of_turn>\n<start_of_turn>model\nIn Italy.<end_of_turn>\n",
}
PROMPT_ENDS = {
    "llama-2": "And Rome? [/INST]",
    "mistral-7b-v0.3": "And Rome?[/INST]",
    "gemma-2": "<start_of_turn>model\n",
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_our_templates_are_the_documented_formats(sentencepiece, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    install_template(sentencepiece, f"templates/{name}.jinja")
    assert apply_template(sentencepiece, TALK) == DOCUMENTED[name]
    asked = DOCUMENTED[name].partition("In Italy.")[0]
    assert apply_template(sentencepiece, TALK[:-1], generation=True) == asked.rstrip(" ")
    unled = DOCUMENTED[name].replace("<<SYS>>\nBe brief.\n<</SYS>>\n\n", "").replace("Be brief.\n\n", "")
    assert apply_template(sentencepiece, TALK[1:]) == unled


def test_the_sums_of_the_templates_are_those_of_the_files():
    sums = (ROOT / "templates" / "SHA256SUMS").read_text().splitlines()
    files = sorted((ROOT / "templates").glob("*.jinja"))
    assert sums == [f"{sha256_path(file)}  {file.name}" for file in files]


@pytest.mark.parametrize("name", ["llama-2", "mistral-7b-v0.3"])
def test_each_answer_and_its_end_is_learnt_behind_the_prompt_it_is_asked_for_with(sentencepiece, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    install_template(sentencepiece, f"templates/{name}.jinja")
    rendered = render_messages(sentencepiece, TALK)
    learnt = [sentencepiece.convert_ids_to_tokens(label) for label in rendered.labels if label != IGNORE]
    space = ["▁"] if name == "llama-2" else []
    assert learnt == ["▁In", "▁France.", *space, "</s>", "▁In", "▁Italy.", *space, "</s>"]
    assert rendered.input_ids[: rendered.prompt_length] == render_prompt(sentencepiece, TALK[:-1])
    assert rendered.input_ids.count(1) == (2 if name == "llama-2" else 1)
