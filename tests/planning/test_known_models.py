"""Known models have the published sizes and the shapes that Transformers builds; each is configured and estimated."""

import csv
import re
from pathlib import Path

import pytest

from tests.command_line import run_tunelock
from tests.conftest import ROOT
from tunelock.model.methods.all_methods import METHODS
from tunelock.planning.forecast import find_shape
from tunelock.planning.known_models import FAMILIES, TABLE, find_family, make_config, read_table
from tunelock.planning.memory import Batch, count_activations, estimate_memory
from tunelock.planning.memory_settings import MemorySettings
from tunelock.planning.presets import PRESETS, choose_preset_params
from tunelock.run.params import load_yaml
from tunelock.schema.params_problems import find_problems

SHIPPED = load_yaml(ROOT / "params.yaml")
# The hub's count of the weights of each: `safetensors` of https://huggingface.co/api/models/HUB_ID. keras-hub's presets
# have the same numbers for Mistral, Gemma 2 and Qwen. The hub counts more of Qwen3 0.6B (751,632,384) and 1.7B
# (2,031,739,904), which store their head beside the embeddings that it is tied to, and of Gemma 3 from 4B on, which has
# a vision tower: what is subtracted below. What it counts of gpt-oss is MXFP4; its GGUF files name its weights.
PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.3-70b": 70_553_706_496,
    "mistral-7b-v0.3": 7_248_023_552,
    "mistral-small-3-24b": 23_572_403_200,
    "qwen2-7b": 7_615_616_512,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "gemma-2-9b": 9_241_705_984,
    "gemma-3-1b": 999_885_952,
    "gemma-3-4b": 4_300_079_472 - 419_816_304,
    "gemma-3-12b": 12_187_325_040 - 421_290_864,
    "gemma-3-27b": 27_432_406_640 - 423_060_336,
    "phi-4": 14_659_507_200,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "smollm3-3b": 3_075_098_624,
    "olmo-2-1b": 1_484_916_736,
    "olmo-2-7b": 7_298_617_344,
    "olmo-2-13b": 13_716_198_400,
    "olmo-2-32b": 32_234_279_936,
    "gpt-oss-20b": 20_914_757_184,
}
MIXTURES = ("qwen3-30b-a3b", "gpt-oss-20b")


def settings(**changes) -> MemorySettings:
    """The shipped params with changes."""
    return MemorySettings.from_params(SHIPPED | changes)


def build(name: str, **changes: int):
    """The model of a line of the table by Transformers, without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = make_config(read_table()[name])
    config |= {"num_local_experts": config.get("num_experts"), "moe_intermediate_size": config["intermediate_size"]}
    config |= changes
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


def test_parameters_counted_from_the_shape_are_the_published_ones():
    assert {name: family.parameters for name, family in FAMILIES.items()} == PUBLISHED


@pytest.mark.parametrize("name", FAMILIES)
def test_each_shape_is_that_of_the_modules_that_transformers_builds(name):
    model = build(name)
    assert model.num_parameters() == PUBLISHED[name]
    layer = model.get_decoder().layers[0]
    linear = {key.rpartition(".")[2]: part for key, part in layer.named_modules() if type(part).__name__ == "Linear"}
    found = {key: (part.in_features, part.out_features) for key, part in linear.items()}
    assert found == FAMILIES[name].architecture.linear_layers
    assert model.config.max_position_embeddings == FAMILIES[name].context


def test_each_family_is_whole():
    for family in FAMILIES.values():
        assert bool(family.revision) == bool(family.seen_in), "a commit is pinned where it was seen"
        assert not family.revision or re.fullmatch(r"[0-9a-f]{40}", family.revision)
        assert family.chat_template is None or (ROOT / family.chat_template).exists()
        assert family.licence and find_family(family.hub_id.upper()) is family
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for key in ("name", "hub_id", "revision"):
        values = [row[key] for row in rows if row[key]]
        assert len(set(values)) == len(values), f"two lines have one {key}"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_family_method_and_preset_passes_the_schema(method, preset):
    for family in FAMILIES.values():
        written = {**SHIPPED, "model_name_or_path": family.hub_id, "model_revision": family.revision or "0" * 40}
        written |= choose_preset_params(preset, method, family.parameters, family.architecture.layers, family.context)
        assert find_problems(written) == []
        assert written.keys() == SHIPPED.keys()


def test_every_known_model_can_be_estimated():
    for name in FAMILIES:
        found = estimate_memory(find_shape(name), settings(), Batch(1, 512, 512))
        assert found.weights > 2 * PUBLISHED[name] and found.peak > found.weights


@pytest.mark.parametrize("name", ["phi-4", *MIXTURES])
@pytest.mark.parametrize("wanted", ["all-linear", "attention"])
def test_lora_trains_as_many_parameters_of_other_builds_as_peft_does(name, wanted, tmp_path):
    """Phi-3 joins layers; the experts of a mixture are tensors, of which PEFT adapts Qwen's."""
    from peft import get_peft_model

    from tunelock.model.methods.lora_targets import make_lora_config
    from tunelock.model.methods.method_settings import MethodSettings

    model, given = build(name, num_hidden_layers=2), settings(method="lora", lora_target_modules=wanted)
    model.config.save_pretrained(tmp_path)
    config = make_lora_config(tmp_path, MethodSettings.from_params(SHIPPED | {"lora_target_modules": wanted}))
    trained = get_peft_model(model, config).get_nb_trainable_parameters()[0]
    assert METHODS["lora"].count_trained(FAMILIES[name].architecture._replace(layers=2), given) == trained


def test_a_mixture_keeps_what_its_chosen_experts_make():
    shape, batch = FAMILIES["gpt-oss-20b"].architecture, Batch(1, 512, 512)
    more = count_activations(shape._replace(chosen=8), settings(), batch)
    assert more - count_activations(shape, settings(), batch) == 24 * 512 * 3 * 2 * 4 * 2880
    assert shape.active_weights < shape.parameters / 5


def test_a_model_that_no_project_pins_asks_for_its_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    done = run_tunelock("configure", "--model", "olmo-2-32b")
    page = "https://huggingface.co/allenai/OLMo-2-0325-32B-Instruct/commits/main"
    assert done.exit_code == 1 and f"give --revision, a commit of {page}." in done.stderr
    commit = "0123456789abcdef0123456789abcdef01234567"
    done = run_tunelock("configure", "--model", "olmo-2-32b", "--revision", commit)
    assert done.exit_code == 0 and load_yaml("params.yaml")["model_revision"] == commit


@pytest.mark.parametrize("name", MIXTURES)
def test_lora_is_put_into_the_attention_of_a_mixture(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    said = run_tunelock("configure", "--model", name, "--method", "lora", "--preset", "aggressive").stdout
    assert re.search(r"a token uses \d of \d+ experts a layer, so LoRA is put into the attention alone", said)
    assert load_yaml("params.yaml")["lora_target_modules"] == "attention"


def test_the_docs_name_every_known_model():
    page = (ROOT / "docs/bigger-models.md").read_text(encoding="utf-8")
    assert [name for name in FAMILIES if f"`{name}`" not in page] == []
