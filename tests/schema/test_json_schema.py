"""params.schema.json is up to date, and an editor that follows it accepts and refuses what the stages do."""

import json
from pathlib import Path

import jsonschema
import pytest

from tunelock.run.params import load_yaml
from tunelock.schema.json_schema import FILE, build_json_schema, read_comments

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
WRITTEN = json.loads((ROOT / FILE).read_text(encoding="utf-8"))
VALUES = load_yaml(ROOT / "params.yaml")


def test_the_written_schema_is_up_to_date():
    assert build_json_schema(TEXT) == WRITTEN, "run `make schema`"


def test_params_yaml_names_its_schema_in_its_first_line():
    assert TEXT.splitlines()[0] == f"# yaml-language-server: $schema={FILE}"


def test_the_schema_is_sound_and_params_yaml_follows_it():
    jsonschema.Draft202012Validator.check_schema(WRITTEN)
    jsonschema.validate(VALUES, WRITTEN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora_rnk": 8}, "'lora_rnk' was unexpected"),
        ({"lora_r": "16"}, "'16' is not of type 'integer'"),
        ({"method": "qlra"}, "'qlra' is not one of"),
        ({"learning_rate": 0}, "0 is less than or equal to the minimum of 0"),
        ({"golden_sha256": "abc"}, "'abc' does not match"),
        ({"pii": {"e-mail": "mask"}}, "'e-mail' is not one of"),
        ({"gate": {"retention": "about 1"}}, "'about 1' does not match"),
        ({"sources": {"Cwe": {"path": "data/raw/"}}}, "'Cwe' does not match"),
        ({"sources": {"cwe": {"pth": "data/raw/"}}}, "'pth' was unexpected"),
    ],
)
def test_a_typo_does_not_follow_it(change, words):
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate(VALUES | change, WRITTEN)
    found = [refused.value, *refused.value.context]
    assert any(words in error.message for error in found), [error.message for error in found]


def test_a_missing_key_does_not_follow_it():
    with pytest.raises(jsonschema.ValidationError, match="'seed' is a required property"):
        jsonschema.validate({key: value for key, value in VALUES.items() if key != "seed"}, WRITTEN)


def test_every_key_is_explained():
    assert [key for key, entry in WRITTEN["properties"].items() if not entry.get("description")] == []


def test_comments_are_read_above_and_behind_a_key():
    text = "# ---- a banner\n# about a,\n# in two lines\na: 1\nb: '#1' # about b\n\n# of the file\n\nc: [1]\nd:\n- 1\n"
    assert read_comments(text) == {"a": "about a,\nin two lines", "b": "about b", "c": "", "d": ""}
