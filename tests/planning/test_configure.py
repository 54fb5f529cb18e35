"""Configuring writes values that pass the schema and touches nothing else."""

import difflib
import json
import re
import typing
from pathlib import Path

import pytest
from click.testing import Result

from tests.command_line import run_tunelock, unwrapped
from tunelock.planning.known_models import FAMILIES
from tunelock.planning.model_lookup import parse_size
from tunelock.planning.presets import PRESETS, SIZES, choose_preset_params
from tunelock.planning.yaml_edit import edit_yaml, format_yaml_value, parse_yaml
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path
from tunelock.run.params import load_yaml
from tunelock.schema.params_schema import Schema

METHODS = typing.get_args(Schema.model_fields["method"].annotation)
ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
VALUES = parse_yaml(SHIPPED)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    """A working folder with the shipped params.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(SHIPPED, encoding="utf-8")
    return tmp_path


def configure(model: str, **options: str) -> Result:
    """`tunelock configure --model MODEL`, with each other option by its name."""
    flags = [word for key, value in options.items() for word in (f"--{key}", value)]
    return run_tunelock("configure", "--model", model, *flags)


def run(model: str, **options: str) -> list[str]:
    """The lines that it prints."""
    done = configure(model, **options)
    assert done.exit_code == 0, done.stderr
    return done.stdout.splitlines()


def test_bolder_presets_learn_faster_and_larger_models_slower():
    for method in METHODS:
        rates = [choose_preset_params(name, method, 7e9, 32, 4096)["learning_rate"] for name in PRESETS]
        assert rates == sorted(rates) and len(set(rates)) == 3
    rates = [
        choose_preset_params("balanced", "lora", size.below - 1, None, None)["learning_rate"] for size in SIZES[:-1]
    ]
    assert rates == sorted(rates, reverse=True)
    full, lora = (
        choose_preset_params("balanced", method, 7e9, 32, 4096)["learning_rate"] for method in ("full", "lora")
    )
    assert (full, lora) == (2e-5, 2e-4)


@pytest.mark.parametrize(("below", "rate", "rank", "dropout"), [(13e9, 2e-4, 32, 0.1), (65e9, 1e-4, 64, 0.05)])
def test_qlora_is_what_its_authors_found(below, rate, rank, dropout):
    """Dettmers et al. 2023, table 9: the rates by size, 16 rows a step, the dropout of the most careful preset."""
    values = choose_preset_params("balanced", "qlora", below, None, None)
    assert (values["learning_rate"], values["lora_r"]) == (rate, rank)
    assert values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] == 16
    assert (values["max_grad_norm"], values["optim"]) == (0.3, "paged_adamw_32bit")
    assert choose_preset_params("conservative", "qlora", below, None, None)["lora_dropout"] == dropout


def test_what_is_written_is_the_preset_and_every_other_line_stays():
    printed = run("llama-3.1-8b", method="qlora", preset="aggressive")
    text = Path("params.yaml").read_text(encoding="utf-8")
    family, values = FAMILIES["llama-3.1-8b"], load_yaml("params.yaml")
    preset = choose_preset_params("aggressive", "qlora", family.parameters, 32, family.context)
    given = {"model_name_or_path": family.hub_id, "model_revision": family.revision, "chat_template": None}
    assert values == {**VALUES, **given, **preset}
    old, new = SHIPPED.replace(": >-\n  ", ": ").splitlines(), text.splitlines()  # the long name on one line
    assert len(old) == len(new)
    changed = {line.partition(":")[0] for before, line in zip(old, new) if before != line}
    assert changed <= {*given, *preset}
    comment = re.compile(r" #.*$")
    assert [comment.findall(line) for line in old] == [comment.findall(line) for line in new]
    diff = list(difflib.unified_diff(SHIPPED.splitlines(), new, "params.yaml", "params.yaml (new)", lineterm="", n=0))
    assert printed[: len(diff)] == diff
    assert "accept its terms at https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct" in "\n".join(printed)
    assert run("llama-3.1-8b", method="qlora", preset="aggressive")[0] == ""  # no diff the second time


def test_comments_keep_their_column():
    run("llama-2-70b", method="qlora", preset="aggressive")
    text = Path("params.yaml").read_text(encoding="utf-8")
    for key in ("lora_r", "lora_alpha", "lora_dropout", "learning_rate", "max_length", "weight_decay"):
        assert re.search(rf"^{key}:.*$", text, re.MULTILINE)[0].index("#") == 27
    assert "\ngradient_accumulation_steps: 16\n" in text
    assert "\nper_device_train_batch_size: 1   # " in text  # where it stood behind 8
    assert "\nchat_template: templates/llama-2.jinja\n" in text


def test_a_dry_run_writes_nothing():
    assert "nothing is written" in "\n".join(
        run_tunelock("configure", "--model", "qwen2-7b", "--dry-run").stdout.splitlines()
    )
    assert Path("params.yaml").read_text(encoding="utf-8") == SHIPPED


def test_nothing_is_written_if_the_schema_would_be_broken():
    """ewc needs the base's gradients, which a quantised one has not; that is for a person to decide."""
    text = edit_yaml(SHIPPED, {"regularization": "ewc"})
    Path("params.yaml").write_text(text, encoding="utf-8")
    done = configure("llama-3.1-8b", method="qlora")
    assert done.exit_code == 1 and re.search(r"nothing is written(.|\n)*regularization: ewc", done.stderr)
    assert Path("params.yaml").read_text(encoding="utf-8") == text


def test_lora_options_are_switched_off_for_other_methods():
    text = edit_yaml(SHIPPED, {"use_dora": True, "bias": "all", "packing": True})
    Path("params.yaml").write_text(text, encoding="utf-8")
    run("smollm2-135m", method="prompt")
    values = load_yaml("params.yaml")
    assert (values["use_dora"], values["bias"], values["packing"]) == (False, "none", False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "llama-3.1-8"}, r"did you mean 'llama-3.1-8b'\?$"),
        ({"model": "qwen2"}, "did you mean 'qwen2-7b'"),
        ({"model": "zzzz"}, "known by name are llama-2-7b, "),
        ({"model": "meta-llama/Llama-3.1-8B"}, "give --revision, the commit of the hub, 40 hex.*llama-3.1-8b"),
        ({"model": "org/model", "revision": "main"}, "--revision 'main' is not the commit"),
        ({"model": "org/model", "revision": COMMIT}, "as in --size 7b"),
        ({"model": "llama-3.1-8b", "revision": "main"}, "40 hexadecimal digits"),
        ({"model": "wheel:a==1/b.gguf", "size": "7b"}, "give --revision, the sha256 of the wheel, 64"),
        ({"model": "params.yaml"}, "its size cannot be read"),
        ({"model": "empty"}, "holds no config.json"),
        ({"model": "odd"}, "has no 'num_attention_heads', so its size is unknown"),
    ],
)
def test_a_model_that_is_not_known_well_enough_stops(arguments, words):
    Path("empty").mkdir()
    Path("odd").mkdir()
    Path("odd/config.json").write_text("{}")
    done = configure(**arguments)
    assert done.exit_code == 1 and re.search(words, done.stderr.rstrip())
    assert Path("params.yaml").read_text(encoding="utf-8") == SHIPPED


def test_another_hub_model_and_a_wheel_take_their_pin_and_size():
    run("org/model", revision=COMMIT, size="70b", method="lora")
    values = load_yaml("params.yaml")
    assert (values["model_name_or_path"], values["model_revision"], values["lora_r"]) == ("org/model", COMMIT, 64)
    run("wheel:a==1.0+cpu/b/c.gguf", revision="0" * 64, size="135M")
    assert load_yaml("params.yaml")["model_revision"] == "0" * 64


def test_a_local_folder_gives_its_digest_and_its_size(workspace):
    shape = FAMILIES["llama-2-13b"].architecture
    config = {"num_hidden_layers": 40, "hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40,
              "vocab_size": 32000, "tie_word_embeddings": False, "max_position_embeddings": 256}  # fmt: skip
    (workspace / "a model").mkdir()
    (workspace / "a model" / "config.json").write_text(json.dumps(config))
    assert any(f"{shape.parameters / 1e9:.3g} billion" in line for line in run("a model"))
    values = load_yaml("params.yaml")
    assert values["model_name_or_path"] == "a model" and values["model_revision"] == sha256_path("a model")
    assert (values["lora_r"], values["max_length"]) == (32, 256)
    assert "leave --revision out" in configure("a model", revision="0" * 64).stderr


def test_a_template_of_ones_own_stays_while_the_model_does():
    run("org/model", revision=COMMIT, size="7b")
    own = "templates/mine.jinja"
    Path("params.yaml").write_text(edit_yaml(Path("params.yaml").read_text(), {"chat_template": own}))
    run("org/model", revision=COMMIT, size="7b", preset="aggressive")
    assert load_yaml("params.yaml")["chat_template"] == own
    run("org/other", revision=COMMIT, size="7b")
    assert load_yaml("params.yaml")["chat_template"] is None


@pytest.mark.parametrize(
    "old", ["1  # why", "[a, b]    # why", "# why\n  [a,\n   b]", "# why\n  - a\n  - b", "null", ""]
)
def test_only_the_value_of_a_key_is_replaced(old):
    text = f"# first\na: 1 # one\nkey: {old}\n# between\nlast: [1,\n  2]  # two\n"
    new = edit_yaml(text, {"key": ["c", "d"]})
    assert parse_yaml(new) == {"a": 1, "key": ["c", "d"], "last": [1, 2]}
    assert new.startswith("# first\na: 1 # one\nkey: ") and new.endswith("\n# between\nlast: [1,\n  2]  # two\n")
    assert new.count("# why") == old.count("# why")


def test_a_key_that_is_not_in_the_file_stops():
    with pytest.raises(Stop, match="lacks 'b'"):
        edit_yaml("a: 1\n", {"b": 2})


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (2e-4, "2e-4"), (1.5e-5, "1.5e-5"), (0.05, "0.05"), (0.0, "0.0"), (16, "16"),
     ("org/model", "org/model"), ("1234", '"1234"'), ("a b", '"a b"'), ("null", '"null"'), ("a: b", '"a: b"')],
)  # fmt: skip
def test_values_are_written_as_people_write_them(value, text):
    assert format_yaml_value(value) == text
    assert parse_yaml(f"key: {text}")["key"] == value


@pytest.mark.parametrize("text", ["7", "0b", "b", "-7b", "7 b"])
def test_a_size_has_a_number_and_a_unit(text):
    with pytest.raises(ValueError, match=text):
        parse_size(text)


def test_a_size_without_a_unit_is_a_fault_of_usage():
    done = configure("gemma-2-9b", size="big")
    assert done.exit_code == 2 and "such as 7b or 135m" in unwrapped(done.stderr)


def test_the_help_names_every_method_and_preset():
    said = re.findall(r"[\w-]+", run_tunelock("configure", "--help").stdout)
    assert {*METHODS, *PRESETS} <= set(said)


def test_mappings_and_lists_are_written_as_an_experiment_would_write_them(tmp_path):
    """Nothing but the changed key differs after `dvc exp run -S`, which rewrites the file."""
    from dvc.utils.serialize import modify_yaml

    source = {"path": "data/raw/faq.csv", "columns": {"instruction": "{q}\n\nA. {A}", "response": "{a}"}}
    values = {
        "sources": {"faq": {**source, "ignore_columns": ["id", "a b: c"]}},
        "golden_groups": None,
        "alignment_rules": ["echo", "refusal"],
        "label_patterns": {"chat": r"(?i)\b(?:yes|no)\b"},
        "gate": {"retention": ">= 0.95"},
    }
    text = edit_yaml(SHIPPED, values)
    Path("params.yaml").write_text(text, encoding="utf-8")
    with modify_yaml("params.yaml") as params:
        params["lora_r"] = 64
    again = Path("params.yaml").read_text(encoding="utf-8")
    changed = [new for old, new in zip(text.splitlines(), again.splitlines(), strict=True) if old != new]
    assert len(changed) == 1 and changed[0].startswith("lora_r: 64")
    assert not re.search(r" $", text, re.MULTILINE)
