"""Sweeps: what DVC would queue becomes the same tasks, and what their values cannot change is found in its graph."""

import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.walls import ROOT
from tunelock.remote.sweeps import expand_overrides, find_common_stages, list_swept_keys, name_tasks
from tunelock.run.errors import Stop

PARAMS = "lora_r: 16\nseed: 0\nrate: 0.1\nname: x\nmodules: [q_proj]\npii: {email: mask, phone: keep}\n"
DVC_YAML = """
stages:
  validate: {cmd: v, params: [{params.yaml: }], outs: [ok]}
  read:
    foreach: [a, b]
    do: {cmd: "r ${item}", deps: [ok], params: [pii.email], outs: ["rows-${item}"]}
  look: {cmd: l, deps: [rows-a], outs: [looked]}
  base: {cmd: b, deps: [ok], outs: [base]}
  train:
    matrix: {part: [a, b]}
    cmd: t ${item.part}
    deps: [base, "rows-${item.part}"]
    params: [lora_r, {other.yaml: [size]}]
    outs: ["model-${item.part}"]
  score: {cmd: "s ${rate}", deps: [model-a, looked], outs: [scores]}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "a project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("params.yaml").write_text(PARAMS, encoding="utf-8")
    Path("other.yaml").write_text("size: {wide: 1}\n", encoding="utf-8")
    return folder


def make_repository(config: str) -> None:
    """What `dvc init` makes, without its words, which go to where the test before had its output."""
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(config, encoding="utf-8")


@pytest.mark.parametrize(
    ("overrides", "tasks"),
    [
        ([], [[]]),
        (["lora_r=8"], [["lora_r=8"]]),
        (
            ["seed=1,2", "lora_r=8,4"],
            [["seed=1", "lora_r=8"], ["seed=1", "lora_r=4"], ["seed=2", "lora_r=8"], ["seed=2", "lora_r=4"]],
        ),
        (["lora_r=choice(8,16)"], [["lora_r=8"], ["lora_r=16"]]),
        (["seed=range(0,3)", "lora_r=4"], [["seed=0", "lora_r=4"], ["seed=1", "lora_r=4"], ["seed=2", "lora_r=4"]]),
        (["rate=1e-5,2e-5"], [["rate=1e-05"], ["rate=2e-05"]]),
        (["modules=[q_proj,v_proj]"], [["modules=[q_proj,v_proj]"]]),
        (["modules=[q_proj,v_proj],[k_proj]"], [["modules=[q_proj,v_proj]"], ["modules=[k_proj]"]]),
        (["name='a,b'"], [["name='a,b'"]]),
        (["name='a,b',c"], [["name='a,b'"], ["name=c"]]),
        (["pii={email:keep,phone:keep}"], [["pii={email:keep,phone:keep}"]]),
        (["+new=1,2"], [["+new=1"], ["+new=2"]]),
        (
            ["other.yaml:size.wide=2,3", "seed=1"],
            [["other.yaml:size.wide=2", "seed=1"], ["other.yaml:size.wide=3", "seed=1"]],
        ),
    ],
)  # fmt: skip
def test_a_sweep_becomes_a_task_for_each_combination(project, overrides, tasks):
    assert expand_overrides(overrides) == tasks


def test_the_tasks_are_those_that_dvc_queues(project, monkeypatch):
    """DVC's own queue is asked for a sweep of two keys in two files; its entries are recorded instead of queued."""
    subprocess.run(["git", "init", "-q"], check=True)
    queued = []
    make_repository("")
    with Repo() as repo:
        monkeypatch.setattr(
            type(repo.experiments), "queue_one", lambda *_, **entry: queued.append(entry) or entry_named(entry["name"])
        )
        overrides = ["lora_r=8,16", "name='a,b',c", "other.yaml:size.wide=range(1,3)"]
        repo.experiments.run(params=overrides, queue=True, name="sweep")
    tasks = expand_overrides(overrides)
    assert [entry["name"] for entry in queued] == name_tasks("sweep", len(tasks))
    assert [
        [*entry["params"]["params.yaml"], *(f"other.yaml:{part}" for part in entry["params"]["other.yaml"])]
        for entry in queued
    ] == tasks


def entry_named(name: str):
    return type("Entry", (), {"name": name, "stash_rev": "0" * 40})()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("lora=8", "params.yaml has no key 'lora'; did you mean 'lora_r'?"),
        ("lora=8,16", "params.yaml has no key 'lora'; did you mean 'lora_r'?"),
        ("pii.emails=keep", "params.yaml has no key 'pii.emails'; did you mean 'pii.email'?"),
        ("other.yaml:sze=2", "other.yaml has no key 'sze'; did you mean 'size'?"),
        ("none.yaml:a=2", "there is no none.yaml here"),
        ("lora_r", "is no override"),
        ("lora_r=glob(*)", "is not supported; write the values of a sweep as KEY=1,2"),
        ("lora_r=interval(1,2)", "does not support sweep type"),
        ("lora_r=???", "DVC refuses it"),
    ],
)
def test_what_dvc_refuses_is_refused_before_anything_is_sent(project, override, sentence):
    with pytest.raises(Stop) as stop:
        expand_overrides(["seed=1", override])
    assert sentence in str(stop.value)
    assert override.rpartition(":")[2].replace("8,16", "8") in str(stop.value)
    assert Path("params.yaml").read_text(encoding="utf-8") == PARAMS


def test_the_swept_keys_are_those_with_several_values(project):
    overrides = [
        "lora_r=8,16",
        "seed=1",
        "modules=[a,b]",
        "+new=1,2",
        "other.yaml:size.wide=1,2",
        "pii.email=range(0,2)",
    ]
    assert list_swept_keys(overrides) == {"lora_r", "new", "other.yaml:size.wide", "pii.email"}


def test_one_task_keeps_the_name():
    assert name_tasks("lr", 1) == ["lr"]
    assert name_tasks("lr", 3) == ["lr-1", "lr-2", "lr-3"]


@pytest.mark.parametrize(
    ("keys", "stages"),
    [
        ({"lora_r"}, ["read@a", "read@b", "look", "base"]),
        ({"pii.email"}, ["base"]),
        ({"pii"}, ["base"]),
        ({"pii.phone"}, ["read@a", "read@b", "look", "base", "train@a", "train@b", "score"]),
        ({"rate"}, ["read@a", "read@b", "look", "base", "train@a", "train@b"]),
        ({"other.yaml:size.wide"}, ["validate", "read@a", "read@b", "look", "base"]),
        ({"size.wide"}, ["read@a", "read@b", "look", "base", "train@a", "train@b", "score"]),
    ],
)
def test_common_stages_neither_read_a_swept_key_nor_come_after_one_that_does(project, keys, stages):
    Path("dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
    make_repository("[core]\n    no_scm = true\n")
    assert find_common_stages(keys) == stages


def test_a_sweep_of_the_rank_scores_the_base_once_in_this_project(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert find_common_stages({"lora_r"}) == ["ingest", "base", "clean", "split", "card", "evaluate_base"]
    assert "evaluate_base" not in find_common_stages({"max_length"})
    assert find_common_stages({"sources.cwe.path"}) == ["base"]


def test_the_module_is_imported_without_dvc():
    code = "import tunelock.remote.sweeps, sys; sys.exit(bool({'dvc', 'hydra', 'networkx'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
