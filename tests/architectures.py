"""Tiny random models of many architectures, put through what the stages do: base, pilot, train, merge, evaluate."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from stages.base import save_resolved
from stages.merge import merge
from stages.train import train
from tunelock.answering.generation import generate_answers
from tunelock.answering.scoring import Score, score_rows
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import make_deterministic
from tunelock.model.positions import find_positions
from tunelock.model.provenance import check_base, copy_weights, record_base
from tunelock.model.sharing import can_share
from tunelock.model.trials import check_packing
from tunelock.model.tuned import load_tuned
from tunelock.records.record import make_messages
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.rendering.vocabulary import find_end_tokens
from tunelock.run.errors import Stop
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainee import load_trainee
from tunelock.training.trainer import ResponseTrainer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 280
LENGTH = 128  # positions of those that have a table of them, and the longest row
NEW = 8  # tokens of an answer
RECORDS = [
    {"id": f"row-{number}", "group": "", "task": "", "source": "",
     "messages": make_messages("Is it?" + " Or not?" * number, "", "It is" + " so" * (number + 1))}
    for number in range(4)
]  # fmt: skip

_BASIC = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_PLAIN = {**_BASIC, "intermediate_size": 64, "num_key_value_heads": 2}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LENGTH}
_STATES = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LINEAR = {
    "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
_WINDOW = {"sliding_window": 16}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bamba": {**_PLAIN, **_MAMBA, "attn_layer_indices": [1]},
    "bert": {**_BASIC, "intermediate_size": 64},
    "biogpt": {**_BASIC, "intermediate_size": 64, "max_position_embeddings": LENGTH},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "codegen": {**_GPT, "rotary_dim": 4},
    "cohere": _PLAIN,
    "cohere2": {**_PLAIN, **_WINDOW},
    "deepseek_v3": {
        **_PLAIN, "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 4, "n_group": 1,
        "num_experts_per_tok": 2, "topk_group": 1, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4, "v_head_dim": 8, "first_k_dense_replace": 1,
    },
    "ernie4_5": _PLAIN,
    "exaone4": {**_PLAIN, **_WINDOW},
    "falcon": _BASIC,
    "falcon (alibi)": {**_BASIC, "alibi": True},
    "falcon_h1": {**_PLAIN, **_MAMBA, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    "falcon_mamba": _STATES,
    "gemma": {**_PLAIN, "head_dim": 8},
    "gemma2": {**_PLAIN, "head_dim": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_PLAIN, "head_dim": 8, "query_pre_attn_scalar": 8},
    "glm4": {**_PLAIN, "head_dim": 8},
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "gpt_neo": {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": LENGTH, "window_size": 16,
        "attention_types": [[["global", "local"], 1]],
    },
    "gpt_neox": {**_BASIC, "intermediate_size": 64},
    "gpt_oss": {**_PLAIN, **_WINDOW, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gptj": {**_GPT, "rotary_dim": 4},
    "granite": {**_PLAIN, "logits_scaling": 2.0},
    "granitemoehybrid": {
        **_PLAIN, **_MAMBA, "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 16,
        "layer_types": ["mamba", "attention"],
    },
    "hyperclovax": {**_PLAIN, "logits_scaling": 2.0},
    "jamba": {
        **_PLAIN, "mamba_d_state": 8, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
        "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 2, "use_mamba_kernels": False,
    },
    "lfm2": {**_PLAIN, "layer_types": ["conv", "full_attention"]},
    "llama": _PLAIN,
    "mamba": _STATES,
    "mamba2": {**_STATES, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16},
    "minimax": {
        **_PLAIN, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "block_size": 16,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "mistral": {**_PLAIN, **_WINDOW},
    "mixtral": {**_PLAIN, "num_local_experts": 4, "num_experts_per_tok": 2},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": LENGTH},
    "nemotron": _PLAIN,
    "nemotron_h": {
        **_PLAIN, "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 16,
    },
    "olmo2": _PLAIN,
    "olmo3": {**_PLAIN, **_WINDOW},
    "olmoe": {**_PLAIN, "num_experts": 4, "num_experts_per_tok": 2},
    "opt": {**_BASIC, "ffn_dim": 64, "max_position_embeddings": LENGTH, "word_embed_proj_dim": 32},
    "phi": {**_BASIC, "intermediate_size": 64},
    "phi3": _PLAIN,
    "phimoe": {**_PLAIN, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": _PLAIN,
    "qwen3": {**_PLAIN, "head_dim": 8},
    "qwen3_5_text": {**_PLAIN, **_LINEAR, "head_dim": 8},
    "qwen3_moe": {**_PLAIN, **_EXPERTS, "head_dim": 8},
    "qwen3_next": {**_PLAIN, **_LINEAR, **_EXPERTS, "head_dim": 8, "shared_expert_intermediate_size": 16},
    "recurrent_gemma": {
        **_PLAIN, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 16, "logits_soft_cap": 5.0,
    },
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2},
    "smollm3": _PLAIN,
    "stablelm": _PLAIN,
    "starcoder2": {**_PLAIN, **_WINDOW},
    "xglm": {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": LENGTH},
}  # fmt: skip


class Passage(NamedTuple):
    """What became of an architecture: the sentence that refuses it, or what it can.

    `adapted`: the last names of the layers that `all-linear` puts an adapter beside. `packs`: packed rows do not see
    each other. `shares`: what rows begin with is computed once. `positions`: a phrase.
    """

    refusal: str | None = None
    adapted: tuple[str, ...] = ()
    packs: bool = False
    shares: bool = False
    positions: str = ""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes and a few words, with a ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=CONTROLS, show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(["user assistant It is so. Or not?"] * 2, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=CONTROLS[2], pad_token=CONTROLS[0])
    fast.chat_template = CHATML
    return fast


def make_model(name: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A random model of an architecture, its weights large enough for tokens to matter to each other."""
    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    options = {"vocab_size": len(tokenizer), **ARCHITECTURES[name], **ends}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split(maxsplit=1)[0], **options))
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def put_through(name: str, folder: Path) -> Passage:
    """Take an architecture through what the stages do, below an empty folder.

    Raises:
        AssertionError: the merged folder, as Transformers alone loads it, gives another loss or other answers.
    """
    make_deterministic(0, 1)
    gc.freeze()  # accelerate collects garbage at each training, which takes a second over all that is imported
    try:
        return _put_through(name, folder)
    finally:
        gc.unfreeze()


def _put_through(name: str, folder: Path) -> Passage:
    source, base, adapter, merged = (folder / part for part in ("source", "base", "adapter", "merged"))
    for made in (base, adapter, merged):
        made.mkdir()
    tokenizer = make_tokenizer()
    make_model(name, tokenizer).save_pretrained(source)
    tokenizer.save_pretrained(source)
    try:
        save_resolved(source, base, "float32")
        rows = render_records(load_tokenizer(base), RECORDS, Rendering(LENGTH)).rows
        trainer = _train_adapter(base, adapter, rows)
        merge(base, adapter, merged, rows, "float32", check_base(adapter, base))
    except Stop as stop:
        return Passage(str(stop))
    _compare_with_transformers(merged, rows, trainer.model)
    return _describe(trainer.model, load_tuned(base, "float32"))


def _train_adapter(base: Path, adapter: Path, rows: Sequence[dict]) -> ResponseTrainer:
    """Train an adapter for two steps, as pilot and train do."""
    settings = MethodSettings(lora_r=2, lora_alpha=4, lora_dropout=0.0, lora_target_modules="all-linear")
    model, config, _ = load_trainee(base, "lora", settings, "float32")
    often = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "max_steps": 2, "max_length": LENGTH}
    root = adapter.parent / "checkpoints"
    options = build_sft_config(root, "float32", 2, gradient_checkpointing=False, seed=0, learning_rate=1e-2, **often)
    share = getattr(model.config, "router_aux_loss_coef", None)
    trainer = ResponseTrainer(model, load_tokenizer(base), options, config, rows, rows)
    assert getattr(model.config, "router_aux_loss_coef", None) == share
    copy_weights(train(trainer, root).best, adapter)
    record_base(adapter, base, "org/tiny", "0" * 40, "lora", dtype="float32", double_quant=True)
    return trainer


def _compare_with_transformers(merged: Path, rows: Sequence[dict], trained: torch.nn.Module) -> None:
    """Check our loss and answers of a merged folder by Transformers alone, and answers by the model that trained."""
    model, tokenizer = load_tuned(merged, "float32"), load_tokenizer(merged)
    ends = find_end_tokens(tokenizer, model.generation_config)
    prompts = [row["input_ids"][: row["prompt_length"]] for row in rows]
    scores, answers = score_rows(model, rows, 2), generate_answers(model, prompts, NEW, len(rows), ends)
    assert generate_answers(trained, prompts, NEW, len(rows), ends) == answers
    plain = AutoModelForCausalLM.from_pretrained(merged).eval()
    for row, score, prompt, answer in zip(rows, scores, prompts, answers, strict=True):
        _check_loss(plain, row, score)
        options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        with torch.no_grad():
            written = plain.generate(torch.tensor([prompt]), eos_token_id=list(ends), **options)[0, len(prompt) :]
        assert written.tolist() == answer, f"{row['id']}: Transformers answers {written.tolist()}, we {answer}"


def _check_loss(plain: PreTrainedModel, row: dict, score: Score) -> None:
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
    with torch.no_grad():
        logits = plain(input_ids=ids).logits[0, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum").item()
    assert abs(score.loss - loss) < 1e-4 * loss, f"{row['id']}: the loss is {score.loss}, that of Transformers {loss}"


def _describe(trained: torch.nn.Module, base: PreTrainedModel) -> Passage:
    """What an architecture that came through can do; its positions are tried, one beyond them."""
    layers = {key.partition(".lora_A")[0] for key, _ in trained.named_parameters() if ".lora_A" in key}
    found = find_positions(base)
    if found.number is not None and found.number <= LENGTH:
        assert found.fixed == _fails_at(base.eval(), found.number + 1) and not _fails_at(base, found.number)
    try:
        check_packing(trained)
        packs = True
    except Stop:
        packs = False
    names = tuple(sorted({layer.removesuffix(".base_layer").rpartition(".")[2] for layer in layers}))
    return Passage(None, names, packs, can_share(base), found.describe())


@torch.no_grad()
def _fails_at(model: PreTrainedModel, tokens: int) -> bool:
    """Whether a row of so many tokens is too long for the model."""
    try:
        model(input_ids=torch.full((1, tokens), 5), use_cache=False)
    except (IndexError, RuntimeError):
        return True
    return False
