"""A method is a file and an entry: everything else follows, for a new one too, and describing it loads no torch."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from peft import IA3Config

from stages.merge import merge
from tests.conftest import ROOT
from tests.model.test_methods import changed, finish, train
from tunelock.model.methods.all_methods import METHODS, list_method_rules
from tunelock.model.methods.architecture import read_architecture
from tunelock.model.methods.method import Method, PresetPart
from tunelock.planning.known_models import FAMILIES
from tunelock.planning.memory import Batch, estimate_memory
from tunelock.planning.memory_settings import MemorySettings
from tunelock.planning.presets import choose_preset_params
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.run.files import read_json
from tunelock.run.params import load_yaml
from tunelock.run.rules import find_broken_rules, rule
from tunelock.training.penalties.all_penalties import NO_PENALTY, PENALTIES

PARAMS = load_yaml(ROOT / "params.yaml")
SETTINGS = MemorySettings.from_params(PARAMS)
TARGETS = ("k_proj", "v_proj", "down_proj")


@rule("packing: the toy does not like it; set packing to false.")
def toy_with_packing(values) -> bool:
    return values["packing"]


class Toy(Method):
    """IA3 (Liu et al. 2022, https://arxiv.org/abs/2205.05638): keys, values and the inputs of down_proj are scaled."""

    name = "toy"
    summary = "learnt scales"
    rules = (toy_with_packing,)
    preset = PresetPart(("use_dora", "bias"), learning_rate=5e-3)

    def peft_config(self, folder, settings):
        return IA3Config(target_modules=list(TARGETS), feedforward_modules=["down_proj"], task_type="CAUSAL_LM")

    def count_trained(self, shape, settings):
        return shape.layers * (2 * shape.key_width + shape.intermediate)


@pytest.fixture
def toy(monkeypatch) -> Toy:
    """A method that is among the others for the time of a test."""
    found = Toy()
    monkeypatch.setitem(METHODS, "toy", found)
    return found


def test_a_new_method_trains_as_many_parameters_as_it_says_and_is_merged(toy, tiny_model, tokenizer, records, tmp_path):
    rows = render_records(tokenizer, records[:2], Rendering(256)).rows
    trainer, before = train(tiny_model, "toy", rows, tmp_path / "run", 1e-1)
    shape = read_architecture(read_json(tiny_model / "config.json"))
    assert trainer.model.get_nb_trainable_parameters()[0] == toy.count_trained(shape, SETTINGS)
    assert changed(trainer.model, before) == set()
    adapter, merged = finish(trainer, tiny_model, "toy", tmp_path)
    figures = merge(tiny_model, adapter, merged, rows, "float32", {"method": "toy"})
    assert figures["merged_against_adapter"] < 1e-4 < figures["merged_against_base"]


def test_memory_presets_and_rules_know_a_new_method(toy):
    shape, batch = FAMILIES["llama-2-7b"].architecture, Batch(4, 512, 1024)
    needs = {name: estimate_memory(shape, replace(SETTINGS, method=name), batch) for name in ("toy", "lora", "full")}
    assert needs["toy"].weights < needs["lora"].weights < needs["full"].weights
    values = choose_preset_params("balanced", "toy", 7e9, 32, 4096)
    assert (values["method"], values["learning_rate"], values["use_dora"]) == ("toy", 5e-3, False)
    assert "lora_r" not in values
    rules = list_method_rules()
    assert find_broken_rules(rules, {"method": "toy", "packing": True}) == [toy_with_packing.sentence]
    assert find_broken_rules(rules, {"method": "toy", "packing": False}) == []
    assert toy_with_packing.sentence not in find_broken_rules(rules, {**PARAMS, "method": "prompt", "packing": True})


def test_methods_and_penalties_are_described_without_torch():
    """So that a check of params.yaml starts in half a second."""
    lines = (
        "import sys",
        "import tunelock.model.methods.all_methods, tunelock.training.penalties.all_penalties",
        "import tunelock.planning.memory, tunelock.planning.presets, tunelock.schema.params_problems",
        "print(sorted({'torch', 'peft', 'transformers', 'bitsandbytes'} & sys.modules.keys()))",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("key", "names"), [("method", list(METHODS)), ("regularization", [NO_PENALTY, *PENALTIES])])
def test_params_yaml_names_each_of_them(key, names):
    """The comment behind the key, or above it, lists what may stand there, in the order of the registry."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    above, line = re.search(rf"((?:^#.*\n)*)^({key}:.*)$", text, re.MULTILINE).groups()
    comment = re.sub(r"\(.*?\)", "", above.replace("\n#", "") + line.partition("#")[2])
    listed = [re.search(r"(\w+)\W*$", part)[1] for part in comment.split("|")[:-1]]
    assert [*listed, re.match(r"\W*(\w+)", comment.split("|")[-1])[1]] == names


def test_each_method_and_penalty_says_what_it_is():
    assert all(entry.summary and entry.name == name for name, entry in (METHODS | PENALTIES).items())
    assert all(method.preset.params for method in METHODS.values())
