"""Every method trains, changes what it should and nothing else, is saved, merged, proved, reloaded, and answers."""

import json
import shutil

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, MambaConfig, PhiConfig, PhiForCausalLM, Qwen2MoeConfig

from stages.merge import merge
from tunelock.answering.generation import generate_answers
from tunelock.answering.scoring import score_rows
from tunelock.chatting.chat_model import ChatModel, ChatSettings
from tunelock.model import tuned
from tunelock.model.methods.added_tokens import ADDED_TOKENS
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import METHOD_PARAMS, MethodSettings
from tunelock.model.modeling import explain_dtype, load_model, make_deterministic, resolve_dtype
from tunelock.model.provenance import copy_weights, record_base
from tunelock.planning.presets import PRESETS, choose_preset_params
from tunelock.rendering.conversation import find_end_token
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.run.errors import Stop
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import ResponseTrainer

PARAMS = {
    "lora_r": 4, "lora_alpha": None, "lora_dropout": 0.0, "lora_target_modules": "all-linear", "bias": "none",
    "use_rslora": False, "use_dora": False, "num_virtual_tokens": 5,
}  # fmt: skip
SOFT = ("prefix", "prompt", "ptuning")
QUANTISED = ("qlora", "int8")


@pytest.fixture(scope="session")
def biased_model(tiny_model, tmp_path_factory):
    """The tiny model with biases in its attention and a head of its own."""
    folder = tmp_path_factory.mktemp("biased") / "model"
    shutil.copytree(tiny_model, folder)
    torch.manual_seed(0)
    config = AutoModelForCausalLM.from_pretrained(folder).config
    config.attention_bias, config.tie_word_embeddings = True, False
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def with_tokens(base, folder, ids):
    """A copy of a base in which these tokens are new."""
    shutil.copytree(base, folder)
    (folder / ADDED_TOKENS).write_text(json.dumps({"ids": ids}))
    return folder


def train(base, method, rows, folder, learning_rate, **change):
    """Three steps with everything that `stages.train` uses; the trainer, and the base's weights before."""
    make_deterministic(0, 1)
    chosen = METHODS[method]
    config = adapter_config(base, method, **change)
    model = load_model(base, chosen.weights_dtype("bfloat16"), chosen.quantization("bfloat16", True))
    before = {name: value.clone() for name, value in model.named_parameters()}
    options = {"learning_rate": learning_rate, "max_steps": 3, "save_strategy": "no", "max_length": 256, "seed": 0}
    options |= {"lr_scheduler_type": "constant", "gradient_checkpointing": False, "eval_strategy": "no"}
    trainer = ResponseTrainer(
        model, load_tokenizer(base), build_sft_config(folder, "bfloat16", len(rows), **options), config, rows, []
    )
    first = score_rows(trainer.model, rows, 12)
    trainer.train()
    last = score_rows(trainer.model, rows, 12)
    assert sum(one.loss for one in last) < sum(one.loss for one in first)
    return trainer, before


def changed(model, before):
    """The names of the base's weights that training changed, as the base names them."""
    now = {
        name.replace("base_layer.", "").replace("token_adapter.", ""): value
        for name, value in tuned.unwrap_model(model).named_parameters()
    }
    return {name for name, value in before.items() if not torch.equal(now[name].detach(), value)}


CASES = {
    "lora": ("lora", 2e-2, {}),
    "dora": ("lora", 1e-2, {"use_dora": True, "use_rslora": True, "lora_target_modules": "attention"}),
    "qlora": ("qlora", 2e-2, {}),
    "int8": ("int8", 2e-2, {}),
    "full": ("full", 2e-3, {}),
    "prefix": ("prefix", 1e-1, {}),
    "prompt": ("prompt", 1e-1, {}),
    "ptuning": ("ptuning", 1e-2, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_method_from_training_to_answers(case, tiny_model, tokenizer, records, tmp_path):
    method, learning_rate, change = CASES[case]
    rows = render_records(tokenizer, records[:2], Rendering(256)).rows
    trainer, before = train(tiny_model, method, rows, tmp_path / "run", learning_rate, **change)
    assert changed(trainer.model, before) == (set(before) if method == "full" else set())
    adapter, merged = finish(trainer, tiny_model, method, tmp_path)
    figures = merge(tiny_model, adapter, merged, rows[:2], "float32", {"method": method})
    assert figures["merged_against_adapter"] < 1e-4 < figures["merged_against_base"]
    found = tuned.load_tuned(merged, "float32")
    assert [one.loss for one in score_rows(found, rows, 4)] == pytest.approx(
        [one.loss for one in score_rows(trainer.model, rows, 4)], rel=2e-2
    )
    prompts, end = [row["input_ids"][: row["prompt_length"]] for row in rows], (find_end_token(load_tokenizer(merged)),)
    together = generate_answers(found, prompts, 4, 4, end)
    assert len({len(prompt) for prompt in prompts}) == 2  # the shorter is padded
    assert together == [generate_answers(found, [prompt], 4, 1, end)[0] for prompt in prompts]
    if method in SOFT:
        chat = ChatModel(merged, ChatSettings("float32", 1, Rendering(256), max_new_tokens=4))
        answer = chat.stream_answer(records[1]["messages"][:1], lambda piece: None)
        assert answer.text == tokenizer.decode(together[1], skip_special_tokens=True).strip()


@pytest.mark.parametrize("method", ["lora", "qlora", "full", "prompt"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_with_its_own_rate(preset, method, tiny_model, tokenizer, records, tmp_path):
    values = choose_preset_params(preset, method, parameters=135e6, layers=2, context=256)
    own = {key: values[key] for key in METHOD_PARAMS if key in values}
    rank = {"lora_r": min(values["lora_r"], 16)} if "lora_r" in own else {}  # the tiny model is no wider
    rows = render_records(tokenizer, records[:4], Rendering(values["max_length"])).rows
    train(tiny_model, method, rows, tmp_path / "run", values["learning_rate"], **own | rank)


def finish(trainer, base, method, folder):
    """Save as `stages.train` does; the adapter's folder and an empty one for the merged model."""
    trainer.save_model(folder / "checkpoint")
    (folder / "adapter").mkdir()
    (folder / "merged").mkdir()
    copy_weights(folder / "checkpoint", folder / "adapter")
    record_base(folder / "adapter", base, "org/model", "0" * 40, method, dtype="bfloat16", double_quant=True)
    return folder / "adapter", folder / "merged"


# ---- LoRA's options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_are_trained_and_merged(bias, biased_model, tokenizer, records, tmp_path):
    rows = render_records(tokenizer, records[:2], Rendering(256)).rows
    options = {"bias": bias, "lora_target_modules": "attention-qv"}
    trainer, before = train(biased_model, "lora", rows, tmp_path / "run", 2e-2, **options)
    names = {name.rpartition("self_attn.")[2] for name in changed(trainer.model, before)}
    if bias == "all":
        assert names - {"k_proj.bias"} == {"q_proj.bias", "v_proj.bias", "o_proj.bias"}  # softmax cancels k_proj's
    else:
        assert names == {"q_proj.bias", "v_proj.bias"}
        return
    adapter, merged = finish(trainer, biased_model, "lora", tmp_path)
    figures = merge(biased_model, adapter, merged, rows, "float32", {"method": "lora"})
    assert figures["merged_against_adapter"] < 1e-4 < figures["merged_against_base"]


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_learn_their_embeddings_and_no_other_row_changes(
    tied, tiny_model, biased_model, tokenizer, records, tmp_path
):
    rows = render_records(tokenizer, records[:2], Rendering(256)).rows
    ids = sorted({rows[0]["input_ids"][3], rows[0]["labels"][-3]})
    base = with_tokens(tiny_model if tied else biased_model, tmp_path / "base", ids)
    trainer, _ = train(base, "lora", rows, tmp_path / "run", 5e-3)
    adapter, merged = finish(trainer, base, "lora", tmp_path)
    figures = merge(base, adapter, merged, rows, "float32", {"method": "lora"})
    assert figures["merged_against_adapter"] < 1e-4 < figures["merged_against_base"]
    old, new = load_model(base, "float32"), load_model(merged, "float32")
    for layer in ("get_input_embeddings", "get_output_embeddings"):
        differs = (getattr(old, layer)().weight != getattr(new, layer)().weight).any(1).nonzero().flatten().tolist()
        assert differs == ids
    assert (new.get_input_embeddings().weight is new.get_output_embeddings().weight) == tied


def test_rank_stabilised_scale_and_dora_are_those_of_their_papers(tiny_model):
    """alpha / sqrt(r) (Kalajdzievski 2023); magnitude times unit direction (Liu et al. 2024), computed without PEFT."""
    model = get_peft_model(
        load_model(tiny_model, "float32"), adapter_config(tiny_model, use_rslora=True, use_dora=True)
    )
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    torch.nn.init.uniform_(layer.lora_magnitude_vector["default"].weight, 0.5, 2.0)
    delta = 8 / 4**0.5 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    moved = layer.base_layer.weight + delta
    wanted = layer.lora_magnitude_vector["default"].weight[:, None] * moved / moved.norm(dim=1, keepdim=True)
    merged = model.merge_and_unload(safe_merge=True).model.layers[0].self_attn.q_proj.weight
    torch.testing.assert_close(merged, wanted)


def adapter_config(folder, method="lora", **change):
    return METHODS[method].peft_config(folder, MethodSettings(**PARAMS | change))


def test_target_sets_name_the_attention_of_any_family(tiny_model, tmp_path):
    def targets(folder, which):
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(folder), adapter_config(folder, lora_target_modules=which)
        )
        found = {name.rpartition(".lora_A")[0] for name, _ in model.named_modules() if name.endswith("lora_A.default")}
        return {".".join(name.split(".")[-2:]) for name in found}

    assert targets(tiny_model, "attention-qv") == {"self_attn.q_proj", "self_attn.v_proj"}
    assert targets(tiny_model, "attention") == {f"self_attn.{name}_proj" for name in "qkvo"}
    tiny = {"vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    AutoModelForCausalLM.from_config(GPT2Config(**tiny)).save_pretrained(tmp_path / "gpt2")
    assert targets(tmp_path / "gpt2", "attention-qv") == {"attn.c_attn"}
    assert targets(tmp_path / "gpt2", "attention") == {"attn.c_attn", "attn.c_proj"}
    MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1).save_pretrained(tmp_path / "mamba")
    with pytest.raises(Stop, match=r"names attention-qv, .* has \['in_proj'\]"):
        adapter_config(tmp_path / "mamba", lora_target_modules="attention-qv")


def test_layers_that_a_kernel_reads_past_their_adapter_have_none(tmp_path):
    """The kernels of Mamba take the weight of `out_proj` itself: an adapter beside it would learn nothing."""
    MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1).save_pretrained(tmp_path)
    every = adapter_config(tmp_path, lora_r=1)
    assert every.target_modules == "all-linear"
    assert every.exclude_modules == {f"backbone.layers.0.mixer.{name}_proj" for name in ("dt", "out", "x")}
    with pytest.raises(Stop, match=r"names \['out_proj'\], the model in .* has \['in_proj'\]"):
        adapter_config(tmp_path, lora_target_modules=["in_proj", "out_proj"])


def test_a_gate_of_one_number_needs_no_lower_rank(tmp_path):
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    experts = {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "num_experts": 2}
    Qwen2MoeConfig(vocab_size=64, num_key_value_heads=2, **tiny, **experts).save_pretrained(tmp_path)
    assert adapter_config(tmp_path, lora_r=2).exclude_modules == {"model.layers.0.mlp.shared_expert_gate"}
    with pytest.raises(Stop, match=r"'model.layers.0.mlp.shared_expert_gate' of the base model has rank 1 at most"):
        adapter_config(tmp_path, lora_r=2, lora_target_modules=["shared_expert_gate"])


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("lora", {"lora_r": 65}, "has rank 32 at most; lower lora_r"),
        ("lora", {"lora_target_modules": ["q_prj"]}, r"names \['q_prj'\], the model in .* has \['down_proj'"),
        ("lora", {"bias": "all"}, "bias is 'all', but the layers of the model in .* have none"),
        ("prompt", {}, "prompt trains no embeddings, so the 1 extra_special_tokens would mean nothing"),
    ],
)
def test_what_does_not_fit_the_model_stops(method, change, message, tiny_model, tmp_path):
    base = with_tokens(tiny_model, tmp_path / "base", [5]) if method == "prompt" else tiny_model
    with pytest.raises(Stop, match=message):
        adapter_config(base, method, **change)


def test_new_tokens_beside_a_head_with_a_bias_stop_before_the_training(tmp_path):
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    PhiForCausalLM(PhiConfig(vocab_size=8, **tiny)).save_pretrained(tmp_path / "phi")
    assert adapter_config(tmp_path / "phi").trainable_token_indices is None
    base = with_tokens(tmp_path / "phi", tmp_path / "base", [5])
    with pytest.raises(Stop, match=r"has a bias, .* set them to \[\] or method to full"):
        adapter_config(base)
    assert adapter_config(base, "full") is None


def test_the_params_are_the_arguments(tiny_model):
    assert set(METHOD_PARAMS) == {*PARAMS, "bnb_4bit_use_double_quant"}


# ---- quantised bases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", QUANTISED)
def test_a_validation_changes_neither_quantised_weights_nor_gradients(method, tiny_model):
    torch.manual_seed(0)
    model = load_model(tiny_model, "bfloat16", METHODS[method].quantization("bfloat16", True))
    model = get_peft_model(model, adapter_config(tiny_model, method))
    ids = torch.arange(24).view(2, 12)

    def gradient():
        model.train().zero_grad()
        tuned.compute_hidden_states(model, ids).float().pow(2).sum().backward()
        return [value.grad.clone() for name, value in model.named_parameters() if "lora_B" in name]

    before = gradient()
    model.eval()
    with torch.no_grad():
        tuned.compute_hidden_states(model, ids)
    assert all(value.any() for value in before)
    assert all(torch.equal(a, b) for a, b in zip(before, gradient()))


def test_the_head_and_the_embeddings_stay_in_the_compute_dtype(tiny_model):
    for method in QUANTISED:
        model = load_model(tiny_model, "bfloat16", METHODS[method].quantization("bfloat16", True))
        assert model.get_output_embeddings().weight.dtype == torch.bfloat16


# ---- soft prompts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SOFT)
def test_hidden_states_are_those_of_pefts_forward_and_differentiable(method, tiny_model):
    torch.manual_seed(0)
    model = get_peft_model(load_model(tiny_model, "float32"), adapter_config(tiny_model, method))
    ids = torch.arange(24).view(2, 12)
    hidden = tuned.compute_hidden_states(model, ids)
    logits = model(input_ids=ids).logits[:, -12:]
    torch.testing.assert_close(tuned.unwrap_model(model).get_output_embeddings()(hidden), logits)
    hidden.sum().backward()
    assert all(value.grad.any() for value in model.parameters() if value.requires_grad)
    with pytest.raises(Stop, match="packing"):
        tuned.compute_hidden_states(model, ids, position_ids=torch.arange(12).expand(2, -1))


def test_hidden_states_of_a_plain_model_and_of_lora_are_the_decoders_own(tiny_model):
    model, ids = load_model(tiny_model, "bfloat16"), torch.arange(24).view(2, 12)
    wanted = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    assert torch.equal(tuned.compute_hidden_states(model, ids), wanted)
    assert torch.equal(tuned.compute_hidden_states(get_peft_model(model, adapter_config(tiny_model)), ids), wanted)
    packed = tuned.compute_hidden_states(model, ids, position_ids=torch.tensor([[*range(7), *range(5)]] * 2))
    alone = tuned.compute_hidden_states(model, ids[:, 7:])
    torch.testing.assert_close(packed[:, 7:], alone, rtol=0.02, atol=0.02)


def test_p_tuning_goes_on_from_a_checkpoint_with_its_network(tiny_model, tmp_path):
    def fresh(seed):
        torch.manual_seed(seed)
        return get_peft_model(load_model(tiny_model, "float32"), adapter_config(tiny_model, "ptuning"))

    model, other, ids = fresh(0), fresh(1), torch.arange(12).view(1, 12)
    model.save_pretrained(tmp_path)
    tuned.save_encoder(model, tmp_path)
    other.load_adapter(tmp_path, "default", is_trainable=True)  # as transformers' Trainer does
    assert not torch.equal(tuned.compute_hidden_states(model, ids), tuned.compute_hidden_states(other, ids))
    tuned.load_encoder(other, tmp_path)
    assert torch.equal(tuned.compute_hidden_states(model, ids), tuned.compute_hidden_states(other, ids))


def test_a_merged_soft_prompt_is_not_loaded_without_its_prompt(tiny_model, tmp_path):
    (tmp_path / "merged").mkdir()
    model = get_peft_model(load_model(tiny_model, "float32"), adapter_config(tiny_model, "prefix"))
    model.save_pretrained(tmp_path / "adapter")
    record_base(tmp_path / "adapter", tiny_model, "wheel:x==1/y.gguf", "0" * 64, "prefix")
    tuned.save_soft_prompt(tmp_path / "adapter", tiny_model, tmp_path / "merged")
    with pytest.raises((OSError, ValueError)):
        AutoModelForCausalLM.from_pretrained(tmp_path / "merged", local_files_only=True)


# ---- dtype ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "bfloat16", "wanted"),
    [(True, True, "bfloat16"), (True, False, "float16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_auto_is_the_best_dtype_of_the_hardware_and_is_explained(cuda, bfloat16, wanted, monkeypatch):
    monkeypatch.setattr("tunelock.model.modeling.find_device", lambda: "cuda" if cuda else "cpu")
    monkeypatch.setattr("tunelock.model.modeling.has_bfloat16", lambda: bfloat16)
    resolve_dtype.cache_clear()
    assert resolve_dtype("auto") == resolve_dtype("auto") == wanted
    found = "computes in bfloat16" if bfloat16 else "has no bfloat16"
    assert explain_dtype("auto") == f"{wanted} (auto, as the {'cuda' if cuda else 'cpu'} {found})"
    assert explain_dtype("float32") == "float32"
    resolve_dtype.cache_clear()


def test_float16_needs_a_gpu(monkeypatch):
    monkeypatch.setattr("tunelock.model.modeling.find_device", lambda: "cpu")
    with pytest.raises(Stop, match="float16 needs a GPU"):
        resolve_dtype("float16")
    assert resolve_dtype("float32") == "float32"
