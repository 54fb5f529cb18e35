"""params.yaml: each wrong value stops the first stage with a sentence that names the key and the way out."""

import re
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from stages import validate
from tunelock.run.errors import Stop
from tunelock.run.params import Params, load_yaml, read_declared_params, read_stage_entry
from tunelock.schema.params_problems import find_problems
from tunelock.schema.params_schema import Schema

SHIPPED = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
TOKEN = "hf_" + "aB3" * 11
COMMENT = re.compile(r"(?:^| )# .*", re.MULTILINE)


@pytest.fixture
def params_file(tmp_path, monkeypatch):
    """Write params.yaml as shipped but for some keys, given as YAML text; None takes a key out."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {validate: {cmd: python -m stages.validate, params: [{params.yaml: null}]}}\n")

    def write(**changes: str | None) -> Path:
        text = SHIPPED
        for key, value in changes.items():
            line = "" if value is None else f"{key}: {value}"
            text, found = re.subn(rf"^{key}:.*$(\n[ -].*$)*", lambda _, line=line: line, text, flags=re.MULTILINE)
            text += "" if found else f"{line}\n"
        Path("params.yaml").write_text(text, encoding="utf-8")
        return Path("params.yaml")

    return write


@pytest.fixture
def problems_of(params_file):
    return lambda **changes: find_problems(load_yaml(params_file(**changes)))


def test_shipped_params_are_fine_and_hold_every_key_of_the_schema(problems_of):
    assert problems_of() == []
    assert list(load_yaml("params.yaml")) == list(Schema.model_fields)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("lora_r", "abc", "'abc' should be a valid integer"),
        ("lora_r", "1.5", "integer"),
        ("lora_r", "true", "integer"),
        ("lora_r", "null", "integer"),
        ("lora_r", "[16]", "integer"),
        ("lora_r", "2024-01-01", "integer"),
        ("lora_r", '"16"', "take the quotes off"),
        ("lora_r", "-4", "-4 should be greater than or equal to 1"),
        ("lora_r", "0", "greater than or equal to 1"),
        ("lora_alpha", "0", "greater than 0"),
        ("lora_dropout", "1.0", "less than 1"),
        ("lora_target_modules", "[]", "at least 1 item"),
        ("lora_target_modules", "[q_proj, 3]", "string"),
        ("learning_rate", '"2e-4"', "take the quotes off"),
        ("learning_rate", "true", "number"),
        ("learning_rate", "0", "greater than 0"),
        ("learning_rate", "-1e-3", "greater than 0"),
        ("learning_rate", ".nan", "nan should be less than 1"),
        ("num_train_epochs", ".nan", "finite"),
        ("num_train_epochs", ".inf", "finite"),
        ("weight_decay", "-.inf", "finite"),
        ("val_ratio", ".nan", "less than 1"),
        ("val_ratio", "0", "greater than 0"),
        ("seed", "-1", "greater than or equal to 0"),
        ("seed", "2147483648", "less than 2147483648"),
        ("gradient_checkpointing", "1", "boolean"),
        ("gradient_checkpointing", "yes", "boolean"),  # a string in YAML 1.2
        ("method", "qlra", "did you mean 'qlora'?"),
        ("method", "dora-and-more", "none of 'lora', 'qlora', 'int8', 'full', 'prefix', 'prompt' or 'ptuning'"),
        ("languages", "[english]", "should match pattern"),
        ("alignment_rules", "[echoo]", "did you mean 'echo'?"),
        ("near_duplicate_threshold", "0.1", "greater than or equal to 0.3"),
        ("conflicting_answers", "drop", "none of 'set_aside' or 'keep'"),
        ("golden_ratio", "1.0", "less than 1"),
        ("golden_sha256", "abc", "should match pattern"),
        ("max_train_samples", "0", "greater than or equal to 1"),
        ("max_length", "31", "greater than or equal to 32"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(problems_of, key, value, words):
    (problem,) = problems_of(**{key: value})
    assert problem.startswith(f"{key}: ")
    assert words in problem


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"pii": "{email: maskk}"},
            "pii.email: 'maskk' is none of 'mask', 'drop', 'flag' or 'off'; did you mean 'mask'?",
        ),
        ({"pii": "{mail: mask}"}, "pii.mail: 'mail' is none of"),
        ({"task_weights": "{explain: 0}"}, "task_weights.explain: 0 should be greater than 0"),
        ({"sources": "{}"}, "sources: {} Dictionary should have at least 1 item"),
        ({"sources": "{a: {path: data/raw/a.csv, delimitr: ';'}}"}, "sources.a.delimitr: no such key; did you mean"),
        ({"sources": "{a: {format: qa}}"}, "sources.a.path: is missing"),
        ({"sources": "{a: {path: x.csv, format: alpacca}}"}, "sources.a.format: 'alpacca' is none of"),
        ({"sources": "{a: {path: x.csv, columns: {question: '{q}'}}}"}, "sources.a.columns: 'question' is none of"),
        ({"sources": "{a: {path: 'https://a.org/x.csv'}}"}, "sources.a.revision: is to be the sha256"),
        ({"sources": "{a: {path: 'hf://datasets/a/b', revision: main}}"}, "sources.a.revision: 'main' should match"),
        (
            {"sources": f"{{a: {{path: 'hf://datasets/a/b', revision: {'a' * 64}}}}}"},
            "sources.a.revision: is to be the comm",
        ),
        ({"sources": "{a: {path: x, format: qa, columns: {text: '{t}'}}}"}, "sources.a.columns: with `format`"),
        ({"sources": "{a: {path: x, columns: {instruction: '{q}'}}}"}, "sources.a.columns: is to have instruction and"),
        ({"sources": "{a: {path: a.csv}}", "licence_required": "true"}, "sources.a.licence: is missing, and `lic"),
        ({"sources": "{a: {path: a.txt, chunk_chars: 2000}}"}, "sources.a.chunk_chars: 2000 is above max_response_"),
        ({"sources": "{a: {path: a.md.gz}}", "max_response_chars": "900"}, "sources.a.chunk_chars: 1200 is above"),
        ({"sources": "{a: {path: x, columns: {text: '{t}'}, chunk_chars: 1201}}"}, "sources.a.chunk_chars: 1201 is"),
        ({"general_source": "{path: 'https://a.org/x.csv'}"}, "general_source.revision: is to be the sha256"),
        ({"general_source": "{path: x.csv, delimitr: ';'}"}, "general_source.delimitr: no such key; did you mean"),
        ({"general_source": "{path: x.csv, role: replay}"}, "general_source: is not trained on, so role and weight"),
        ({"sources": "{a: {path: x}, b: {path: y, role: replay}}"}, "replay_share: is 0, so"),
        ({"sources": "{a: {path: x, role: replay}}", "replay_share": "0.1"}, "sources: every source has"),
        ({"replay_share": "0.1"}, "replay_share: no source has"),
        ({"golden_where": "{colour: red}", "golden_ratio": "0.1"}, "golden_where.colour: 'colour' is none of"),
    ],
)
def test_a_wrong_value_inside_a_mapping_is_named_with_its_path(problems_of, changes, problem):
    (found,) = problems_of(**changes)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning_rate", "2e-4"), ("learning_rate", "0.0002"), ("num_train_epochs", "2"), ("num_train_epochs", "0.5")],
)
def test_numbers_as_people_write_them_are_fine(problems_of, key, value):
    assert problems_of(**{key: value}) == []
    assert load_yaml("params.yaml")[key] == float(value)


def test_unquoted_2e_4_is_a_float(params_file):
    assert isinstance(load_yaml(params_file(learning_rate="2e-4"))["learning_rate"], float)


@pytest.mark.parametrize(("typo", "meant"), [("lora_rank", "lora_r"), ("learning_rte", "learning_rate")])
def test_a_typo_in_a_key_is_answered_with_the_key_that_was_meant(problems_of, typo, meant):
    assert problems_of(**{typo: "1"}) == [f"{typo}: no such key; did you mean '{meant}'?"]


def test_an_unknown_key_that_resembles_none_is_to_be_removed(problems_of):
    assert problems_of(zzzzzz="1") == ["zzzzzz: no such key; remove it."]


def test_a_missing_key_is_named(problems_of):
    (problem,) = problems_of(lora_r=None)
    assert problem.startswith("lora_r: is missing")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"min_response_chars": "30", "max_response_chars": "29"}, "min_response_chars"),
        ({"val_ratio": "0.5", "test_ratio": "0.5"}, "test_ratio"),
        ({"model_revision": "null"}, "model_revision"),
        ({"model_revision": "a" * 40}, "model_revision"),
        ({"max_new_tokens": "384"}, "max_new_tokens"),
        ({"method": "qlora", "dtype": "float32"}, "dtype"),
    ],
)
def test_values_that_contradict_each_other_are_one_problem(problems_of, changes, key):
    (problem,) = problems_of(**changes)
    assert problem.startswith(f"{key}: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"min_response_chars": "30", "max_response_chars": "30"},
        {"model_name_or_path": "org/model", "model_revision": "a" * 40},
        {"model_name_or_path": "some/folder", "model_revision": "a" * 64},
        {"method": "qlora"},
        {"lora_target_modules": "[q_proj, v_proj]"},
        {"lora_alpha": "32"},
        {"max_train_samples": "null"},
    ],
)
def test_values_that_go_together_are_fine(problems_of, changes):
    assert problems_of(**changes) == []


def test_the_size_of_pieces_is_compared_where_there_are_texts_alone(problems_of):
    assert problems_of(sources="{a: {path: a.csv}, b: {path: b.jsonl, format: qa}}", max_response_chars="900") == []
    assert problems_of(sources="{a: {path: a.txt, chunk_chars: 900}}", max_response_chars="900") == []


def test_all_problems_are_reported_at_once(problems_of):
    found = problems_of(lora_r="abc", lora_rnk="3", seed=None, val_ratio="0.5", test_ratio="0.5")
    assert {problem.split(":")[0] for problem in found} == {"lora_r", "lora_rnk", "seed", "test_ratio"}


def test_a_contradiction_with_a_wrong_value_is_not_guessed_at(problems_of):
    (problem,) = problems_of(val_ratio='"0.9"', test_ratio="0.9")
    assert problem.startswith("val_ratio: ")


@pytest.mark.parametrize(
    "key", ["model_name_or_path", "model_revision", "lora_r", "method", "dtype", "lora_target_modules", "hub_token"]
)
def test_a_secret_is_refused_and_never_repeated(problems_of, key):
    found = problems_of(**{key: TOKEN})
    assert any(problem.startswith(f"{key}: looks like a secret") for problem in found)
    assert TOKEN not in "\n".join(found)


@pytest.mark.parametrize("value", ["sk-" + "a1" * 12, "ghp_" + "b" * 36, "AKIA" + "Q7" * 8, f"use {TOKEN} please"])
def test_secrets_of_other_services_are_seen_too(problems_of, value):
    (problem,) = problems_of(system_prompt=f'"{value}"')
    assert "looks like a secret" in problem
    assert value not in problem


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("lora_r=64", "lora_r"),
        ("lora_alpha=32", "lora_alpha"),
        ("learning_rate=2e-4", "learning_rate"),
        ("model_name_or_path=org/model", "model_name_or_path"),
        ("pii.email=drop", "pii"),
        ("gate.retention='>= 0.9'", "gate"),
        ("sources.cwe.licence=MIT", "sources"),
        ("general_source.task=general", "general_source"),
        ("decontaminate=[exact]", "decontaminate"),
        ("report_to=[]", "report_to"),
    ],
)
def test_dvc_changes_the_value_it_is_to_change_and_keeps_every_comment(params_file, override, key):
    path, before = params_file(), load_yaml("params.yaml")
    apply_overrides(path, [override])  # what `dvc exp run -S` does
    after, text = load_yaml(path), path.read_text(encoding="utf-8")
    assert [name for name in before if before[name] != after[name]] == [key]
    assert COMMENT.findall(text) == COMMENT.findall(SHIPPED)
    changed = set(text.splitlines()) ^ set(SHIPPED.splitlines())
    assert len(changed) <= 2 or isinstance(before[key], list)


def test_dvc_changes_the_line_of_a_plain_value_and_no_other(params_file):
    """So params.yaml stands in the form that `-S` writes, which a new key must keep."""
    path = params_file()
    plain = [key for key, value in load_yaml(path).items() if not isinstance(value, dict | list)]
    plain.remove("model_name_or_path")  # its value has a line of its own
    apply_overrides(path, [f"{key}=12345" for key in plain])
    before, after = SHIPPED.splitlines(), path.read_text(encoding="utf-8").splitlines()
    assert len(before) == len(after)
    assert [line.split(":")[0] for line, old in zip(after, before) if line != old] == plain


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"system_prompt": '"Fill in ${NAME}."'}, "system_prompt"),
        ({"system_prompt": '"In ${oc.env:HOME}."'}, "system_prompt"),
        ({"system_prompt": '"???"'}, "system_prompt"),
        ({"label_patterns": "{a: '\\${[A-Z]+}'}"}, "label_patterns.a"),
        ({"golden_groups": '["a", "${lora_r}"]'}, "golden_groups.1"),
        ({"task_loss_weights": '{"${a}": 1.0}'}, "task_loss_weights.${a}"),
        ({"sources": '{faq: {path: data/raw/a.csv, task: "${task}"}}'}, "sources.faq.task"),
    ],
)
def test_what_dvc_would_replace_in_a_text_is_a_problem_that_says_what_to_write(problems_of, changes, place):
    (problem,) = problems_of(**changes)
    assert problem.startswith(f"{place}: ") and "dvc exp run -S" in problem and "write " in problem


def test_what_dvc_leaves_alone_is_no_problem(params_file, problems_of):
    texts = {"system_prompt": '"It costs $5, {not} $NAME? Or $ {x}. ????"', "label_patterns": r"{a: '\$[{][A-Z]+}'}"}
    assert problems_of(**texts) == []
    path = params_file(**texts)
    before = load_yaml(path)
    apply_overrides(path, ["lora_r=64"])
    assert load_yaml(path) == {**before, "lora_r": 64}


def test_validate_writes_the_same_file_for_all_params_that_pass(params_file):
    contents = set()
    for rank in "8", "16":
        params_file(lora_r=rank)
        validate.main()
        contents.add(Path("data/params.ok").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(
    "changes",
    [{"lora_r": "abc"}, {"lora_r": "2024-01-01"}, {"lora_r": ".nan"}, {"'1'": "2"}, {"1": "2"}, {"a.b": "2"}],
)
def test_validate_stops_with_plain_words_and_writes_nothing(params_file, changes):
    params_file(**changes)
    with pytest.raises(SystemExit) as stopped:
        validate.main()
    key = next(iter(changes)).strip("'")
    assert stopped.value.code.startswith(f"validate: params.yaml has 1 problem(s):\n  {key}: ")
    assert not Path("data").exists()


def test_validate_lists_every_problem_and_no_secret(params_file):
    params_file(lora_r="0", method=TOKEN)
    with pytest.raises(SystemExit) as stopped:
        validate.main()
    assert "lora_r: " in stopped.value.code
    assert "method: looks like a secret" in stopped.value.code
    assert TOKEN not in stopped.value.code


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: 1\nb: 2\na: 3\n", "file.yaml:3: 'a' is set twice"),
        (b"a: 1\nb: [1\n", "file.yaml:3: not YAML"),
        (b"a: 1\n\tb: 2\n", "file.yaml:2: not YAML"),
        (b"a: \x00\n", "file.yaml"),
        (b"a: \xff\n", "file.yaml"),
        (b"", "expected `key: value` lines"),
        (b"- a\n", "expected `key: value` lines, found list"),
    ],
    ids=["key twice", "bracket left open", "tab", "NUL", "not UTF-8", "empty", "a list"],
)
def test_a_file_that_is_no_mapping_stops_with_its_place(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    Path("file.yaml").write_bytes(content)
    with pytest.raises(Stop, match=re.escape(words)):
        load_yaml("file.yaml")


def test_a_key_set_twice_is_told_without_its_values(params_file):
    with params_file().open("a") as file:
        file.write(f"model_name_or_path: {TOKEN}\n")
    with pytest.raises(Stop, match="'model_name_or_path' is set twice") as stopped:
        load_yaml("params.yaml")
    assert TOKEN not in str(stopped.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Stop, match=r"nowhere\.yaml is missing"):
        load_yaml(tmp_path / "nowhere.yaml")


def test_a_stage_reads_what_it_declares_and_nothing_else(params_file):
    params_file(lora_r="7")
    params = Params("train", read_declared_params({"params": ["lora_r", "seed"]}))
    assert params.lora_r == 7
    assert params.select(("seed", "lora_r")) == {"seed": 0, "lora_r": 7}
    with pytest.raises(AttributeError, match=r"'train' reads 'lora_dropout' but dvc\.yaml does not list it"):
        _ = params.lora_dropout


def test_params_are_declared_by_key_by_nested_key_of_another_file_or_as_a_whole(params_file):
    params_file()
    Path("other.toml").write_text('[project]\ndependencies = ["torch"]\n')
    entry = {"params": ["lora_r", {"other.toml": ["project.dependencies"]}]}
    assert read_declared_params(entry) == {"lora_r": 16, "other.toml:project.dependencies": ["torch"]}
    assert read_declared_params({"params": [{"params.yaml": None}]}) == load_yaml("params.yaml")


def test_a_file_is_read_once_however_many_of_its_params_are_declared(params_file, monkeypatch):
    params_file()
    reads = []

    def read_text(path: Path, *args, read=Path.read_text, **how) -> str:
        reads.append(path.name)
        return read(path, *args, **how)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert read_declared_params({"params": ["lora_r", "seed", {"params.yaml": ["lora_alpha"]}]}).keys() == {
        "lora_r", "seed", "lora_alpha"}  # fmt: skip
    assert reads == ["params.yaml"]


@pytest.mark.parametrize("key", ["lora_rank", "lora_r.deeper"])
def test_a_declared_key_that_the_file_lacks_stops(params_file, key):
    params_file()
    with pytest.raises(Stop, match=f"params.yaml lacks '{key}'"):
        read_declared_params({"params": [key]})


def test_a_stage_that_dvc_yaml_lacks_stops(params_file):
    params_file()
    with pytest.raises(Stop, match="no stage 'trian'"):
        read_stage_entry("trian")
