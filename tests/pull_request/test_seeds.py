"""Repeats over seeds: real experiments of a tiny DAG of its own, and the arithmetic."""

import contextlib
import json
import statistics

import pytest

from tests.conftest import ROOT, Project
from tunelock.pull_request.seed_report import report_seeds, tabulate_seeds
from tunelock.pull_request.seed_spread import SeedRun, format_spreads, group_runs, list_runs, measure_spread
from tunelock.run.errors import Stop

STEP = """
import json
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml").read_text())
metrics = {"test_perplexity_base": 30.0, "test_perplexity_tuned": 14.0 + params["seed"] + params["lora_r"]}
Path("metrics.json").write_text(json.dumps(metrics))
"""
DVC_YAML = """
stages:
  step:
    cmd: python step.py
    deps: [step.py]
    params: [seed, lora_r]
    metrics:
      - metrics.json: {cache: false}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A committed run with seed 0, experiments with seeds 2 and 4, and one that waits."""
    folder = tmp_path_factory.mktemp("seeds")
    project = Project(folder)
    project.env |= {"PYTHONPATH": str(ROOT)}
    project.run("git", "init", "-q", "-b", "main")
    for key, value in (("user.email", "a@example.invalid"), ("user.name", "a")):
        project.run("git", "config", key, value)
    project.run("dvc", "init", "-q")
    (folder / "step.py").write_text(STEP)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").write_text("seed: 0\nlora_r: 0\n")
    project.run("dvc", "repro", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "seed 0")
    for seed in (2, 4):
        project.run("dvc", "exp", "run", "-q", "-S", f"seed={seed}")
    project.run("dvc", "exp", "run", "-q", "--queue", "-n", "waiting", "-S", "seed=6", "-S", "lora_r=0")
    project.run("git", "checkout", "-q", ".")
    return project


def test_experiments_that_differ_in_the_seed_are_summarised(project):
    said = project.run("python", "-m", "tunelock", "seeds").stdout
    assert "3 runs, seeds 0, 2, 4" in said  # the workspace is the commit, and counts once
    assert "| `test_perplexity_tuned` | 3 | 16.00 | 2.00 | 14.00 | 18.00 | 14.00 | 14.3 % |" in said
    assert "waiting: not counted, queued." in said
    assert "No run has" in said and "retention" in said
    found = json.loads(project.run("python", "-m", "tunelock", "seeds", "--json").stdout)
    assert found["groups"][0]["seeds"] == [0, 2, 4]
    assert found["groups"][0]["metrics"]["test_perplexity_tuned"]["deviation"] == 2


def test_a_workspace_that_was_edited_but_not_run_does_not_count(project):
    with contextlib.ExitStack() as after:
        after.callback(project.run, "git", "checkout", "-q", ".")
        project.set(seed=9)
        said = project.run("python", "-m", "tunelock", "seeds", "--metric", "test_perplexity_base").stdout
    assert "seeds 0, 2, 4" in said and "| `test_perplexity_base` | 3 | 30.00 | 0 | 30.00 | 30.00 | - | - |" in said
    assert "The workspace is not counted: step: params.yaml:seed modified" in said


def run(name: str, seed: int, metrics: dict, why_not: str = "", code: str = "1", **params: object) -> SeedRun:
    """A finished run."""
    return SeedRun(name, {"params.yaml:seed": seed, **params}, {"step.py": code}, metrics, why_not)


def test_runs_are_grouped_by_every_param_but_the_seed_and_by_code():
    runs = [run("a", 0, {}, r=1), run("b", 1, {}, r=2), run("c", 2, {}, r=1), run("d", 3, {}, code="2", r=1)]
    assert [[one.name for one in group] for group in group_runs(runs)] == [["a", "c"], ["b"], ["d"]]


def test_mean_spread_and_effect_are_those_of_the_runs():
    tuned = [14.0, 14.5, 15.5]
    runs = [run(str(n), n, {"x_tuned": value, "x_base": 20.0 + n}) for n, value in enumerate(tuned)]
    found = measure_spread(runs, "x_tuned")
    assert (found.count, found.low, found.high) == (3, 14.0, 15.5)
    assert found.mean == pytest.approx(statistics.mean(tuned)) and found.deviation == pytest.approx(
        statistics.stdev(tuned)
    )
    assert found.effect == pytest.approx(21.0 - statistics.mean(tuned))
    assert measure_spread(runs, "x_base").effect is None and measure_spread(runs, "nothing") is None


def test_a_run_without_a_metric_and_one_that_failed_are_named():
    runs = [
        run("a", 0, {"m": 1.0}),
        run("b", 1, {"m": 3.0}),
        run("c", 2, {"m": None}),
        run("d", 3, {}, why_not="failed"),
    ]
    runs.append(run("e", 4, {"m": 2.0}, **{"params.yaml:lora_r": 8}))
    said = report_seeds(runs, ["m", "other"], [])
    assert "e: alone with its params (`lora_r=8`)." in said
    assert "3 runs, seeds 0, 1, 2" in said and "| `m` | 2 | 2.000 |" in said
    assert "m is missing in c." in said and "d: not counted, failed." in said and "No run has other." in said


@pytest.mark.parametrize("runs", [[], [run("a", 0, {"m": 1.0})], [run("a", 0, {}, r=1), run("b", 1, {}, r=2)]])
def test_fewer_than_two_runs_are_told(runs):
    with pytest.raises(Stop, match="no two finished runs differ in the seed alone; run `dvc exp run -S seed=1`"):
        report_seeds(runs, ["m"], [])


def test_a_script_gets_the_same_figures():
    runs = [run("a", 0, {"m": 1.0}), run("b", 1, {"m": 3.0}), run("c", 2, {}, why_not="failed")]
    found = json.loads(json.dumps(tabulate_seeds(runs, ["m", "other"], ["A remark."])))
    (group,) = found["groups"]
    assert (group["runs"], group["seeds"], list(group["metrics"])) == (["a", "b"], [0, 1], ["m"])
    assert (group["metrics"]["m"]["mean"], group["metrics"]["m"]["count"]) == (2.0, 2)
    assert found["left_out"] == ["c: not counted, failed."] and found["remarks"] == ["A remark."]


def test_what_dvc_shows_of_a_failed_run_is_not_a_result():
    def entry(rev: str, seed: int, **more: object) -> dict:
        params = {"params.yaml": {"data": {"seed": seed, "pii": {"email": "mask"}}}}
        return {"rev": rev, "name": None, "data": {"params": params, "metrics": {"m.json": {"error": {}}}}, **more}

    broken = {"rev": "d" * 40, "data": None, "error": {"msg": "broken"}}
    experiments = [
        {"revs": [entry("b" * 40, 1)], "executor": {"state": "failed"}},
        {"revs": [entry("c" * 40, 2)], "executor": {"state": "success"}},
        {"revs": [broken], "executor": None},
    ]
    runs = list_runs([entry("workspace", 0), entry("a" * 40, 0, experiments=experiments)], workspace=True)
    assert {one.name: one.why_not for one in runs} == {"a" * 7: "", "b" * 7: "failed", "c" * 7: "", "d" * 7: "broken"}
    assert runs[0].params == {"params.yaml:seed": 0, "params.yaml:pii.email": "mask"}


def test_a_spread_of_nothing_beside_nothing_is_a_dash():
    text = format_spreads([measure_spread([run("a", 0, {"m_tuned": 1.0, "m_base": 1.0})], "m_tuned")])
    assert text.splitlines()[-1] == "| `m_tuned` | 1 | 1.000 | - | 1.000 | 1.000 | 0 | - |"
