"""What is tried on a few tokens: packing, the direction of reading, the head."""

import pytest
import torch
from peft import PrefixTuningConfig
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.model.test_positions import SMALL
from tunelock.model.losses import apply_head, find_head_weight
from tunelock.model.trials import check_model, check_packing, check_soft_prompt
from tunelock.run.errors import Stop

STATE = {
    "num_key_value_heads": 2,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_d_ssm": 32,
    "mamba_d_state": 4,
    "mamba_chunk_size": 8,
}
KINDS = {
    "llama": SMALL,
    "gpt2": {"vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2},
    "bloom": {"vocab_size": 64, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    "mamba": {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    "lfm2": {**SMALL, "layer_types": ["conv"]},
    "falcon_h1": {**SMALL, **STATE, "lm_head_multiplier": 0.02},
    "recurrent_gemma": {**SMALL, "num_hidden_layers": 3, "lru_width": 16, "logits_soft_cap": 2.0},
    "bert": SMALL,
    "hyperclovax": {**SMALL, "logits_scaling": 4.0},
}


def build(kind: str) -> PreTrainedModel:
    """A small random model whose weights are large enough for its tokens to matter to each other."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **KINDS[kind]))
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_packed_rows_that_come_out_as_alone_are_believed(kind, dtype):
    model = build(kind).to(dtype).train()
    check_packing(model)
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["bloom", "mamba", "lfm2", "falcon_h1"])
def test_packed_rows_that_see_each_other_stop(kind, dtype):
    model = build(kind).to(dtype)
    with pytest.raises(Stop, match=f"packing: .* in {type(model).__name__}; set packing: false"):
        check_packing(model)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom", "mamba", "lfm2", "falcon_h1", "recurrent_gemma"])
def test_models_that_write_from_left_to_right_are_believed(kind):
    check_model(build(kind))


def test_a_model_that_reads_both_ways_stops():
    with pytest.raises(Stop, match="BertLMHeadModel looks at tokens that come later"):
        check_model(build("bert"))


def test_a_head_that_is_not_known_stops():
    """HyperCLOVA X multiplies by what Granite, under the same name, divides by."""
    with pytest.raises(Stop, match="HyperCLOVAXForCausalLM makes its logits in a way that tunelock does not know"):
        check_model(build("hyperclovax"))


@pytest.mark.parametrize("kind", ["mamba", "falcon_h1"])
def test_a_prefix_for_a_model_that_keeps_a_state_stops(kind):
    model = build(kind)
    prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(Stop, match=f"method: {type(model).__name__} takes no prefix tuning .*; set it to lora"):
        check_soft_prompt(model, prefix)


def test_trying_a_soft_prompt_draws_no_number_that_training_would_draw():
    model, before = build("gpt2"), torch.get_rng_state()
    check_soft_prompt(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["falcon_h1", "recurrent_gemma"])
def test_factors_and_caps_of_logits_are_known_by_their_names(kind):
    model, ids = build(kind).eval(), torch.arange(3, 20)[None]
    with torch.no_grad():
        states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        found = apply_head(model.get_output_embeddings(), model.config, states)
        wanted = model(input_ids=ids, use_cache=False).logits
        plain = model.get_output_embeddings()(states)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5) and (plain - wanted).norm() > 0.1 * wanted.norm()
    assert find_head_weight(model) is None
