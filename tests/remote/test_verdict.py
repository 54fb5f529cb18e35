"""The verdict on a run that was made again: identical, within measured noise, or different, and where it begins."""

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tunelock.remote.repeats import RepeatRange, keep_repeat, read_repeats
from tunelock.remote.run_comparison import DIFFERENT, IDENTICAL, WITHIN_NOISE, Verdict, compare_runs
from tunelock.remote.run_record import LockedStage, RunRecord, read_run, restore_run
from tunelock.remote.verdict_screen import format_verdict, print_verdict
from tunelock.run.errors import Stop

ROOT = Path(__file__).parents[2]
MACHINE = {"cpu": "AMD EPYC", "cores": 2, "python": "3.11.7", "torch": "2.13.0", "instruction_set": "AVX512"}
LOSS = "metrics/m.json:loss"


def make_run(commit: str = "a", loss: float = 1.0, **changes: dict[str, dict]) -> RunRecord:
    """A run of three stages, `split`, `train` and `metrics`, with other fields for those that are named."""
    stages = {
        "split": LockedStage("split", {"stages/split.py": "c"}, {"data/raw": "r"}, {"seed": 0}, {"data/split": "s"}),
        "train": LockedStage("train", {"stages/train.py": "c"}, {"data/split": "s"}, {"lora_r": 16}, {"models": "m"}),
        "metrics": LockedStage("metrics", {}, {"models": "m"}, {}, {"metrics/m.json": f"{loss}"}, {LOSS: loss}),
    }
    for name, stage in stages.items():
        stages[name] = dataclasses.replace(stage, **{"machine": MACHINE} | changes.get(name, {}))
    return RunRecord(commit, commit * 40, stages, {"numpy": "2.4.6"})


def on(**facts: object) -> dict[str, dict]:
    """Changes that put all stages on another machine."""
    return {name: {"machine": MACHINE | facts} for name in ("split", "train", "metrics")}


def with_outs(changes: dict[str, dict]) -> dict[str, dict]:
    """Changes with other weights, and so another input of what comes behind."""
    found = {name: dict(change) for name, change in changes.items()}
    found.setdefault("train", {})["outs"] = {"models": "other"}
    found.setdefault("metrics", {})["inputs"] = {"models": "other"}
    return found


def show(verdict: Verdict) -> str:
    """What a terminal shows."""
    out = io.StringIO()
    print_verdict(Console(file=out, width=200), verdict)
    return out.getvalue()


def test_the_same_bits_are_identical():
    verdict = compare_runs(make_run(), make_run("b"))
    assert (verdict.word, verdict.first, verdict.cause) == (IDENTICAL, None, None)
    assert show(verdict).startswith("Identical. Every out of every stage has the same md5")


def test_the_same_bits_on_another_machine_are_identical_and_it_says_what_differs():
    verdict = compare_runs(make_run(), make_run("b", **on(cpu="Intel Xeon", cores=64)))
    assert verdict.word == IDENTICAL
    assert {(one.what, one.theirs, one.again) for one in verdict.environment} == {
        ("cpu", "AMD EPYC", "Intel Xeon"),
        ("cores", "2", "64"),
    }


@pytest.mark.parametrize("fact, value", [("instruction_set", "AVX2"), ("threads", 4), ("torch", "2.13.0+cu130")])
def test_what_differs_in_the_machine_of_the_first_stage_that_diverges_is_its_cause(fact, value):
    verdict = compare_runs(make_run(), make_run("b", loss=1.5, **with_outs(on(**{fact: value}))))
    assert (verdict.word, verdict.first) == (DIFFERENT, "train")
    assert verdict.cause.startswith("train is the first stage with another result. Its params, code and inputs are the")
    assert f"{fact}: {MACHINE.get(fact, 'none')}, now {value}" in verdict.cause
    assert "no repeats were made on this kind of hardware, so nothing is called noise" in verdict.reason


def test_a_divergence_that_is_inherited_is_told_from_the_one_that_it_comes_from():
    verdict = compare_runs(make_run(), make_run("b", loss=1.5, **with_outs({})))
    table = {stage.stage: (bool(stage.inputs), bool(stage.outs)) for stage in verdict.stages}
    assert table == {"split": (False, False), "train": (False, True), "metrics": (True, True)}
    assert verdict.first == "train" and "nothing that was recorded of the machines differs" in verdict.cause


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"params": {"lora_r": 64}}, "its params differ (lora_r)"),
        ({"code": {"stages/train.py": "d"}}, "its code differs (stages/train.py)"),
        ({"command": "train --fast"}, "its code differs (command)"),
        ({"inputs": {"data/split": "t"}}, "its inputs differ (data/split)"),
    ],
)
def test_a_stage_that_was_given_something_else_is_not_blamed_on_its_machine(change, cause):
    again = make_run("b", train={"outs": {"models": "other"}, "machine": MACHINE | {"threads": 4}} | change)
    verdict = compare_runs(make_run(), again)
    assert verdict.cause == f"train is the first stage with another result, and {cause}."


def test_what_differs_where_another_stage_ran_is_no_cause():
    verdict = compare_runs(make_run(), make_run("b", **with_outs({"metrics": {"machine": MACHINE | {"threads": 4}}})))
    assert verdict.environment and "nothing that was recorded of the machines differs" in verdict.cause


def test_a_stage_that_only_one_run_has_is_named():
    again = make_run("b")
    del again.stages["train"]
    verdict = compare_runs(make_run(), again)
    assert verdict.word == DIFFERENT and verdict.cause == "train is not in dvc.lock of its repetition."


def test_packages_differ_by_the_versions_that_were_installed():
    again = make_run("b", **on(other_versions={"numpy": "2.3.0"}))
    (found,) = compare_runs(make_run(), again).environment
    assert (found.what, found.theirs, found.again) == ("package numpy", "2.4.6", "2.3.0")
    assert found.stages == ("split", "train", "metrics")


def test_a_machine_of_which_nothing_was_noted_is_said_to_be_unknown():
    verdict = compare_runs(make_run(train={"machine": {}}), make_run("b"))
    assert [(one.what, one.theirs, one.stages) for one in verdict.environment] == [
        ("machine", "not recorded", ("train",))
    ]


# ---- noise ---------------------------------------------------------------------------------------------------------


def noisy(commit: str, loss: float, **facts: object) -> RunRecord:
    return make_run(commit, loss, **with_outs(on(**facts)))


@pytest.mark.parametrize(
    "loss, word", [(1.2, WITHIN_NOISE), (1.39, WITHIN_NOISE), (1.41, DIFFERENT), (0.69, DIFFERENT)]
)
def test_noise_is_what_is_no_farther_from_the_repeats_than_they_are_from_each_other(loss, word):
    again = noisy("b", 1.0)
    verdict = compare_runs(make_run("a", loss), again, [again, noisy("c", 1.2), noisy("d", 1.1)])
    assert (verdict.word, verdict.repeats) == (word, 3)
    (metric,) = verdict.stages[-1].metrics
    assert metric.spread == RepeatRange(1.0, 1.2)


@pytest.mark.parametrize(
    "repeats",
    [
        [],
        [noisy("c", 1.2)],
        [noisy("c", 1.2, cpu="Intel Xeon"), noisy("d", 0.9, cpu="Intel Xeon")],
        [noisy("c", 1.2, threads=8), noisy("d", 0.9, threads=8)],
        [make_run("c", 1.2, train={"params": {"lora_r": 8}}), make_run("d", 0.9, train={"params": {"lora_r": 8}})],
        [make_run("c", 1.2, train={"machine": {}}), make_run("d", 0.9, train={"machine": {}})],
    ],
    ids=["none", "one", "another processor", "other threads", "another run", "a machine unknown"],
)
def test_without_two_repeats_of_this_run_on_this_hardware_nothing_is_noise(repeats):
    verdict = compare_runs(make_run("a", 1.01), noisy("b", 1.0), repeats)
    assert verdict.word == DIFFERENT and verdict.reason.endswith("so nothing is called noise.")
    assert verdict.repeats == len(repeats) == 1 or "no repeats were made" in verdict.reason


def test_repeats_with_the_same_bits_make_no_difference_noise():
    again = noisy("b", 1.0)
    assert compare_runs(make_run("a", 1.0001), again, [again, noisy("c", 1.0)]).word == DIFFERENT
    assert compare_runs(make_run("a", 1.0), again, [again, noisy("c", 1.0)]).word == WITHIN_NOISE  # weights alone


def test_a_difference_in_what_is_no_number_is_never_noise():
    def run(commit: str, verdict: object) -> RunRecord:
        return make_run(commit, metrics={"metrics": {"metrics/m.json:verdict": verdict}})

    again = run("b", "healthy")
    assert compare_runs(run("a", "spiking"), again, [again, run("c", "spiking")]).word == DIFFERENT
    assert compare_runs(run("a", float("nan")), again, [again, run("c", 1.0)]).word == DIFFERENT


def test_with_other_params_or_data_nothing_is_noise():
    again, repeat = (make_run(name, 1.0, split={"inputs": {"data/raw": "q"}}) for name in "bc")
    verdict = compare_runs(make_run("a", 1.0001, split={"outs": {"data/split": "t"}}), again, [again, repeat])
    assert verdict.word == DIFFERENT and "so does what they were made from" in verdict.reason


def test_repeats_are_kept_by_what_they_are_of_each_once(tmp_path):
    for run in (noisy("b", 1.0), noisy("b", 1.0), noisy("c", 1.2), make_run("d", train={"params": {"lora_r": 8}})):
        keep_repeat(run, tmp_path)
    assert read_repeats(make_run("a"), tmp_path) == [noisy("b", 1.0), noisy("c", 1.2)]


# ---- commits -------------------------------------------------------------------------------------------------------

WORK = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tunelock.run.machines import record_machine
from tunelock.run.params import read_stage_entry

name = sys.argv[1]
if name == "train":
    Path("model").mkdir(exist_ok=True)
    Path("model/weights").write_text(Path("rows.txt").read_text() + os.environ.get("KERNEL", "avx512"))
else:
    Path("metrics/plots").mkdir(parents=True, exist_ok=True)
    size = sum(Path("model/weights").read_bytes())
    Path("metrics/score.json").write_text(json.dumps({{"test": {{"loss": size}}}}))
    Path("metrics/plots/curve.csv").write_bytes(b"step,loss\\r\\n1,%d\\r\\n" % size)
record_machine(name, read_stage_entry(name))
"""
DAG = """stages:
  score:
    cmd: python stages/work.py score
    deps: [model/weights, stages/work.py]
    outs: [metrics/plots: {cache: false}]
    metrics: [metrics/score.json: {cache: false}]
  train:
    cmd: python stages/work.py train
    deps: [rows.txt, stages/work.py]
    params: [rate]
    outs: [model]
"""


def run(*command: str, **variables: str) -> str:
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def commit(message: str) -> str:
    run("git", "add", "-A")
    run("git", "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", message)
    return run("git", "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A repository with a run: the commit `made`, and `again` with another kernel, each by `dvc repro`."""
    folder = tmp_path_factory.mktemp("made") / "a b"
    files = {"stages/work.py": WORK.format(root=str(ROOT)), "dvc.yaml": DAG, "params.yaml": "rate: 1\n"}
    files |= {"rows.txt": "rows", ".gitignore": "/model\n", "locks/cuda.txt": "numpy==2.4.6 \\\n    --hash=sha256:00\n"}
    files |= {"metrics/machines.json": "{}"}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("git", "init", "-q")
        run("dvc", "init", "-q")
        run("dvc", "repro", "-q")
        run("git", "tag", "made", commit("made"))
        run("dvc", "repro", "-q", "-f", KERNEL="avx2", ATEN_CPU_CAPABILITY="avx2")
        run("git", "tag", "again", commit("again"))
    return folder


@pytest.fixture
def repository(made, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "a b"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    run("git", "checkout", "-q", "made")
    return folder


def change_metric(value: int) -> None:
    Path("metrics/score.json").write_text(json.dumps({"test": {"loss": value}}))


def test_a_commit_compared_with_itself_is_identical(repository):
    record = read_run("made")
    assert compare_runs(record, read_run("HEAD")).word == IDENTICAL
    assert record.pins == {"numpy": "2.4.6"} and record.edited == []
    assert record.stages["score"].metrics.keys() == {"metrics/score.json:test.loss"}


def test_stages_stand_as_they_run_whatever_the_order_of_the_lock(repository):
    head, score, train = re.split(r"(?m)^(?=  train:|  score:)", Path("dvc.lock").read_text())
    for name, text in ("one", head + score + train), ("other", head + train + score):
        Path("dvc.lock").write_text(text)
        run("git", "add", "-A")
        run("git", "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", name, "--allow-empty")
        assert list(read_run("HEAD").stages) == ["train", "score"]


def test_another_kernel_is_different_and_begins_in_training(repository):
    verdict = compare_runs(read_run("made"), read_run("again"))
    assert (verdict.word, verdict.first) == (DIFFERENT, "train")
    assert "aten_cpu_capability: none, now avx2" in verdict.cause
    assert [len(stage.metrics) for stage in verdict.stages] == [0, 1]


@pytest.mark.parametrize("path", ["metrics/score.json", "metrics/plots/curve.csv"])
def test_what_was_edited_in_git_is_named_with_its_stage(path, repository):
    Path(path).write_text('{"test": {"loss": 1}}')
    commit("a better figure")
    verdict = compare_runs(read_run("HEAD"), read_run("made"))
    out = "metrics/plots" if "plots" in path else path
    assert verdict.word == DIFFERENT
    assert [(one.stage, one.path) for one in verdict.edited] == [("score", out)]
    assert f"{out} (stage score) was changed afterwards" in verdict.reason
    if out == path:
        assert verdict.cause == f"{path} was changed after score had made it; its outs are the same."


def test_a_figure_that_was_edited_in_the_lock_too_is_found_by_making_it_again(repository):
    change_metric(1)
    run("dvc", "commit", "-q", "-f", "score")
    commit("a better figure, and the lock says so")
    verdict = compare_runs(read_run("HEAD"), read_run("made"))
    assert (verdict.word, verdict.first, verdict.edited) == (DIFFERENT, "score", ())


def test_facts_of_a_run_on_other_inputs_are_not_taken_for_those_of_the_result(repository):
    Path("rows.txt").write_text("more rows")
    facts = Path("metrics/machines.json").read_text()
    run("dvc", "repro", "-q")
    Path("metrics/machines.json").write_text(facts)  # as if the stage came out of the cache
    commit("restored")
    assert read_run("made").stages["train"].machine
    assert read_run("HEAD").stages["train"].machine == {}


def test_a_commit_without_a_lock_says_so(repository):
    run("git", "rm", "-q", "dvc.lock")
    with pytest.raises(Stop, match=r"commit \w+ has no dvc.lock, so it does not say what it gives"):
        read_run(commit("no lock"))


def test_a_lock_that_cannot_be_read_says_so(repository):
    Path("dvc.lock").write_text("stages: [")
    with pytest.raises(Stop, match=r"dvc.lock of commit \w+ cannot be read"):
        read_run(commit("broken"))


def test_a_record_is_plain_json_and_back(repository):
    record = read_run("made")
    assert restore_run(json.loads(json.dumps(record.as_json()))) == record


def test_the_screen_and_the_json_have_stages_metrics_and_environment(repository):
    verdict = compare_runs(read_run("made"), read_run("again"))
    text, found = show(verdict), json.loads(json.dumps(format_verdict(verdict)))
    for part in ("Different. ", "train", "1 differ", "metrics/score.json:test.loss", "aten_cpu_capability", "all"):
        assert part in text
    assert found["verdict"] == DIFFERENT and found["first_stage"] == "train"
    assert found["stages"][1]["metrics"][0]["name"] == "metrics/score.json:test.loss"
    assert found["environment"][0]["stages"] == ["train", "score"]
