"""A merge is proved: equal to base + adapter, different from the base, on the weights the adapter was trained on."""

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from stages.merge import (
    add_adapter,
    load_trained_base,
    load_whole_model,
    measure_difference,
    merge,
    probe_logits,
    prove_merge,
)
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import load_model
from tunelock.model.provenance import read_shapes
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.run.errors import Stop
from tunelock.run.files import write_json

LORA = MethodSettings(lora_r=4, lora_alpha=None, lora_dropout=0.0, lora_target_modules="all-linear")


@pytest.fixture
def adapter(tiny_model, tmp_path):
    """An adapter that changes its base."""
    torch.manual_seed(0)
    model = get_peft_model(load_model(tiny_model, "float32"), METHODS["lora"].peft_config(tiny_model, LORA))
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
    rows = render_records(tokenizer, records[:2], Rendering(256)).rows
    base = load_model(tiny_model, "float32")
    base_logits = probe_logits(base, rows)
    tuned = add_adapter(base, adapter)
    tuned_logits = probe_logits(tuned, rows)
    merged_logits = probe_logits(tuned.merge_and_unload(), rows)
    figures = prove_merge(base_logits, tuned_logits, merged_logits, 1e-4)
    assert figures["merged_against_adapter"] < 1e-5 < figures["merged_against_base"]
    with pytest.raises(Stop, match="more than the tolerance"):
        prove_merge(
            base_logits,
            tuned_logits,
            merged_logits + 0.01 * merged_logits.std() * torch.randn_like(merged_logits),
            1e-4,
        )
    with pytest.raises(Stop, match="cannot be told from its base"):
        prove_merge(base_logits, base_logits, base_logits, 1e-4)
    with pytest.raises(Stop, match="more than the tolerance"):
        prove_merge(base_logits, tuned_logits, torch.full_like(merged_logits, torch.nan), 1e-4)


@pytest.mark.parametrize("method", ["qlora", "int8"])
@pytest.mark.parametrize("double_quant", [True, False])
def test_an_adapter_goes_onto_the_dequantised_weights_it_was_trained_on(method, double_quant, tiny_model):
    quantised = load_model(tiny_model, "bfloat16", METHODS[method].quantization("bfloat16", double_quant)).train()
    dequantised = load_trained_base(tiny_model, method, "bfloat16", double_quant)
    original = load_model(tiny_model, "float32").state_dict()
    checked = 0
    for name, layer in quantised.named_modules():
        if name.endswith("_proj"):
            seen = layer(torch.eye(layer.in_features, dtype=torch.bfloat16)).t().float()
            assert torch.equal(dequantised.get_submodule(name).weight, seen)
            assert 0.002 < measure_difference(seen, original[f"{name}.weight"]) < 0.2
            checked += 1
    assert checked == 14


def test_an_adapter_with_missing_weights_stops(tiny_model, adapter):
    file = adapter / "adapter_model.safetensors"
    kept = load_file(file)
    kept.pop(sorted(kept)[0])
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(Stop, match="lacks 1 weights"):
        add_adapter(load_model(tiny_model, "float32"), adapter)


def test_rounding_to_each_dtype_passes_its_tolerance(tiny_model, adapter, tokenizer, records, tmp_path):
    rows = render_records(tokenizer, records[:2], Rendering(256)).rows
    found = {}
    for dtype in ("bfloat16", "float16", "float32"):
        (tmp_path / dtype).mkdir()
        figures = merge(tiny_model, adapter, tmp_path / dtype, rows, dtype, {"method": "lora"})
        found[dtype] = figures["merged_against_adapter"]
    assert found["float32"] < found["float16"] < found["bfloat16"]


def test_a_truncated_or_foreign_adapter_stops(tiny_model, adapter):
    file = adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    weights = load_file(file)
    save_file({name: value[:, :8].contiguous() for name, value in weights.items()}, file, metadata={"format": "pt"})
    with pytest.raises(Stop, match=r"does not fit its base .*size mismatch"):
        add_adapter(load_model(tiny_model, "float32"), adapter)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Stop, match=r"adapter_model\.safetensors cannot be read"):
        add_adapter(load_model(tiny_model, "float32"), adapter)
    file.unlink()
    with pytest.raises(Stop, match=r"adapter_model\.safetensors cannot be read"):
        add_adapter(load_model(tiny_model, "float32"), adapter)


def test_a_whole_model_must_have_the_shapes_of_its_base(tiny_model, tmp_path):
    weights = load_file(tiny_model / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"][:32].contiguous()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Stop, match=r"1 weights differ in shape, 'model\.norm\.weight' first"):
        load_whole_model(tmp_path, tiny_model)


def test_an_index_that_points_outside_its_folder_stops(tmp_path):
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": {"x": "../model.safetensors"}})
    with pytest.raises(Stop, match=r"names '\.\./model\.safetensors', which is no file beside it"):
        read_shapes(tmp_path)
