"""A merge is proved: equal to base + adapter, different from the base, on the weights the adapter was trained on."""

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from stages.lib.adapter import lora_config
from stages.lib.errors import Stop
from stages.lib.modeling import load_model
from stages.lib.rendering import fit
from stages.merge import add_adapter, difference, logits_of, prove, trained_base

LORA = {"lora_r": 4, "lora_alpha": None, "lora_dropout": 0.0, "lora_target_modules": "all-linear"}


@pytest.fixture
def adapter(tiny_model, tmp_path):
    """An adapter that changes its base."""
    torch.manual_seed(0)
    model = get_peft_model(load_model(tiny_model, "float32"), lora_config(tiny_model, **LORA))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_merged_weights_are_base_plus_scaled_product(tiny_model, adapter):
    """An independent computation: W + alpha / r * B A, without PEFT."""
    merged = add_adapter(load_model(tiny_model, "float32"), adapter).merge_and_unload().state_dict()
    base, lora = load_model(tiny_model, "float32").state_dict(), load_file(adapter / "adapter_model.safetensors")
    checked = 0
    for name in (name for name in lora if name.endswith("lora_A.weight")):
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        delta = 2.0 * lora[name.replace("lora_A", "lora_B")] @ lora[name]
        torch.testing.assert_close(merged[f"{layer}.weight"], base[f"{layer}.weight"] + delta)
        checked += 1
    assert checked == 14  # seven linear layers in each of two blocks


def test_proof_passes_for_the_merged_model_and_not_for_others(tiny_model, adapter, tokenizer, records):
    rows, _ = fit(tokenizer, records[:2], None, 256)
    base = load_model(tiny_model, "float32")
    base_logits = logits_of(base, rows)
    tuned = add_adapter(base, adapter)
    tuned_logits = logits_of(tuned, rows)
    merged_logits = logits_of(tuned.merge_and_unload(), rows)
    figures = prove(base_logits, tuned_logits, merged_logits, 1e-4)
    assert figures["merged_against_adapter"] < 1e-5 < figures["merged_against_base"]
    with pytest.raises(Stop, match="more than the tolerance"):
        prove(
            base_logits,
            tuned_logits,
            merged_logits + 0.01 * merged_logits.std() * torch.randn_like(merged_logits),
            1e-4,
        )
    with pytest.raises(Stop, match="cannot be told from its base"):
        prove(base_logits, base_logits, base_logits, 1e-4)
    with pytest.raises(Stop, match="more than the tolerance"):
        prove(base_logits, tuned_logits, torch.full_like(merged_logits, torch.nan), 1e-4)


def test_a_qlora_adapter_goes_onto_the_dequantised_weights_it_was_trained_on(tiny_model, tokenizer, records):
    rows, _ = fit(tokenizer, records[:2], None, 256)
    quantised = logits_of(load_model(tiny_model, "bfloat16", quantize=True), rows)
    original = logits_of(load_model(tiny_model, "float32"), rows)
    dequantised = logits_of(trained_base(tiny_model, "qlora"), rows)
    assert difference(dequantised, quantised) < 0.02 < difference(original, quantised)


def test_an_adapter_with_missing_weights_stops(tiny_model, adapter):
    file = adapter / "adapter_model.safetensors"
    kept = load_file(file)
    kept.pop(sorted(kept)[0])
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(Stop, match="lacks 1 weights"):
        add_adapter(load_model(tiny_model, "float32"), adapter)
