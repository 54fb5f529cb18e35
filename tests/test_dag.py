"""The whole DAG on a slice of real data, through DVC as a user runs it."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.conftest import ROOT, copy_of_repository
from tunelock.pull_request.lock import list_stale
from tunelock.run.machines import sum_up_locked_inputs
from tunelock.run.params import load_yaml

pytestmark = pytest.mark.slow
STAGES = list(load_yaml(ROOT / "dvc.yaml")["stages"])
AFTER_A_LORA_PARAM = {"validate", "pilot", "train", "merge", "evaluate", "metrics", "package"}


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '(\w+)'", output))


def read(project, name: str) -> dict:
    return json.loads((project.folder / name).read_text())


def adapter_hash(project) -> str:
    return hashlib.sha256((project.folder / "models/adapter/adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def clean_built(built):
    """The built project, put back to its commit afterwards."""
    yield built
    built.run("git", "checkout", "-q", "--", ".")
    built.run("dvc", "checkout", "-q", "--force")
    shutil.rmtree(built.folder / ".ckpt", ignore_errors=True)


def test_every_stage_ran_and_nothing_is_left_to_do(built):
    assert set(load_yaml(built.folder / "dvc.lock")["stages"]) == set(STAGES)
    again = built.run("dvc", "repro")
    assert ran(again.stdout) == set() and "up to date" in again.stdout
    assert built.run("dvc", "status", "--json").stdout.strip() == "{}"
    assert built.run("git", "status", "--short").stdout == ""


def test_every_row_is_accounted_for(built):
    total, split = read(built, "metrics/data.json")["total"], read(built, "metrics/split.json")
    left_out = {status: sum(total[status].values()) for status in ("dropped", "set_aside")}
    assert total["rows"] == 7525  # the pinned catalogue's
    assert total["rows"] == total["kept"] + left_out["dropped"] + left_out["set_aside"]
    for status, count in left_out.items():
        assert count == len(lines(built, f"data/clean/{status}.jsonl"))
    ledger = lines(built, "data/clean/ledger.jsonl")
    assert [row["line"] for row in sorted(ledger, key=lambda row: row["line"])] == list(range(1, 7526))
    rows = sum(split[name]["rows"] for name in ("train", "val", "test", "golden"))
    assert rows + len(lines(built, "data/split/left_out.jsonl")) == total["kept"]
    assert {row["group"] for row in lines(built, "data/split/golden.jsonl")} <= set(params(built)["golden_groups"])


def params(project) -> dict:
    return load_yaml(project.folder / "params.yaml")


def lines(project, name: str) -> list[dict]:
    return [json.loads(line) for line in (project.folder / name).read_text().split("\n") if line]


def test_metrics_have_their_stable_keys_and_the_tuned_model_is_better(built):
    metrics = read(built, "metrics/evaluate.json")
    for split in ("test", "golden"):
        for key in ("loss", "perplexity", "bleu", "rouge_l", "accuracy", "stop_rate"):
            assert {f"{split}_{key}_base", f"{split}_{key}_tuned"} <= metrics.keys()
        assert metrics[f"{split}_perplexity_tuned"] < 0.95 * metrics[f"{split}_perplexity_base"]
    assert 0 < read(built, "metrics/train.json")["merge_difference"] < 0.02
    assert read(built, "models/pilot/report.json")["go"] is True
    assert {"train_seconds", "train_peak_rss_gb"} <= read(built, "metrics/timings.json").keys()


def test_each_stage_says_where_it_ran_and_on_the_inputs_that_the_lock_names(built):
    said, locked = read(built, "metrics/machines.json"), load_yaml(built.folder / "dvc.lock")["stages"]
    assert {name: stage["inputs"] for name, stage in said["stages"].items()} == {
        name: sum_up_locked_inputs(entry) for name, entry in locked.items()
    }
    assert len(said["machines"]) == 1 and said["stages"]["train"]["threads"] == 1
    assert "threads" not in said["stages"]["split"]


def test_another_clone_makes_the_same_lock_byte_for_byte(built, tmp_path):
    """In another folder, time zone, locale and hash seed."""
    (tmp_path / "a b" / "ü").mkdir(parents=True)
    other = copy_of_repository(tmp_path / "a b" / "ü")
    shutil.copy(built.folder / "params.yaml", other.folder)
    (other.folder / "dvc.lock").unlink(missing_ok=True)
    other.run("git", "add", "-A")
    other.run("git", "commit", "-qm", "start")
    other.run("dvc", "init", "-qf", check=False)
    other.run("dvc", "repro", TZ="Pacific/Kiritimati", LC_ALL="tr_TR.UTF-8", PYTHONHASHSEED="7")
    assert (other.folder / "dvc.lock").read_bytes() == (built.folder / "dvc.lock").read_bytes()


def test_training_killed_in_the_middle_resumes_to_the_same_bits(clean_built):
    project, before = clean_built, adapter_hash(clean_built)
    log = (project.folder / "models/train/log.json").read_bytes()
    run = start(project, "python", "-m", "stages.train")
    wait_for(lambda: list(project.folder.glob(".ckpt/train/*/checkpoint-*[0-9]/manifest.json")), run)
    run.send_signal(signal.SIGKILL)
    run.wait()
    (project.folder / "models/adapter/adapter_model.safetensors").unlink()
    resumed = project.run("python", "-m", "stages.train")
    assert "going on from" in resumed.stdout
    assert adapter_hash(project) == before
    assert (project.folder / "models/train/log.json").read_bytes() == log
    assert not list(project.folder.glob(".ckpt/train/*"))


def test_a_second_training_at_the_same_time_is_refused(clean_built):
    first = start(clean_built, "python", "-m", "stages.train")
    wait_for(lambda: list(clean_built.folder.glob(".ckpt/train/*/train.lock")), first)
    first.send_signal(signal.SIGSTOP)  # or it would be done before the second one has imported what it needs
    second = clean_built.run("python", "-m", "stages.train", check=False)
    first.kill()
    first.wait()
    assert second.returncode == 1 and f"process {first.pid} is already running this stage" in second.stderr


@pytest.mark.parametrize("edited", ["param", "code"])
def test_an_edit_while_a_stage_runs_fails_the_stage_and_leaves_the_lock(clean_built, edited):
    project = clean_built
    lock = (project.folder / "dvc.lock").read_bytes()
    project.set(lora_r=8)
    run = start(project, "dvc", "repro", "--single-item", "train")
    wait_for(lambda: list(project.folder.glob(".ckpt/train/*/checkpoint-*[0-9]/manifest.json")), run)
    if edited == "param":
        project.set(lora_r=9)
    else:
        with open(project.folder / "tunelock/model/losses.py", "a") as code:
            code.write("# edited\n")
    out = run.communicate()[0]
    named = "param lora_r" if edited == "param" else "tunelock/model;"  # the folder among the deps
    assert run.returncode != 0 and f"train: changed while the stage ran: {named}" in out
    trained = load_yaml(project.folder / "dvc.lock")["stages"]["train"]
    assert trained == load_yaml_bytes(lock)["stages"]["train"]


def load_yaml_bytes(content: bytes) -> dict:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(content)


def start(project, *command: str) -> subprocess.Popen:
    return subprocess.Popen(
        command, cwd=project.folder, env=project.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for(happened, run: subprocess.Popen) -> None:
    """Return as soon as `happened()` is true; fail if the process ends before."""
    deadline = time.time() + 120
    while not happened():
        assert run.poll() is None, run.stdout.read()
        assert time.time() < deadline
        time.sleep(0.005)


def test_experiments_rerun_what_depends_on_their_param_and_can_be_compared(clean_built):
    """One here, and a sweep of two, which ask little, that DVC runs in folders of their own."""
    project = clean_built
    project.run("dvc", "exp", "run", "--queue", "-S", "confidence_level=0.8,0.9")
    done = project.run("dvc", "exp", "run", "-S", "lora_r=6")
    assert ran(done.stdout) == AFTER_A_LORA_PARAM
    assert read(project, "models/adapter/adapter_config.json")["r"] == 6
    assert "test_perplexity_tuned" in project.run("dvc", "metrics", "diff").stdout
    assert "lora_r" in project.run("dvc", "params", "diff").stdout
    project.run("dvc", "plots", "diff", "-o", "dvc_plots")
    assert (project.folder / "dvc_plots" / "index.html").exists()
    project.run("dvc", "queue", "start")
    deadline = time.time() + 480
    while "Queued" in (status := project.run("dvc", "queue", "status").stdout) or "Running" in status:
        assert time.time() < deadline, status
        time.sleep(1)
    assert status.count("Success") == 2, status
    shown = list(csv.DictReader(project.run("dvc", "exp", "show", "--csv").stdout.splitlines()))
    ranks = {row["lora_r"]: row["test_perplexity_tuned"] for row in shown}
    assert {"6", "16"} <= ranks.keys() and len(set(ranks.values())) == len(ranks)
    levels = {row["confidence_level"]: row["retention_low"] for row in shown if row["lora_r"] == "16"}
    assert {"0.8", "0.9", "0.95"} <= levels.keys() and len(set(levels.values())) == len(levels)


SCORING = {"evaluate_base", "evaluate"}


# metrics reads what the remedies of its diagnosis are computed from
@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"learning_rate": 2e-3}, {"validate", "pilot", "train", "metrics", "package"}),
        ({"min_response_chars": 30}, {"validate", "clean", "package"}),
        ({"pii": {"email": "drop"}}, {"validate", "clean", "package"}),
        ({"leak_threshold": 0.7}, {"validate", "split", "metrics", "package"}),
        ({"max_length": 300}, {*SCORING, "validate", "card", "pilot", "train", "merge", "metrics", "package"}),
        ({"max_new_tokens": 9}, {*SCORING, "validate", "pilot", "metrics", "package"}),
        ({"test_ratio": 0.2}, {"validate", "split", "package"}),
        ({"dtype": "float32"}, {*SCORING, "validate", "base", "pilot", "train", "merge", "package"}),
    ],
)
def test_a_param_dirties_exactly_the_stages_that_read_it(clean_built, change, changed):
    clean_built.set(**change)
    assert set(json.loads(clean_built.run("dvc", "status", "--json").stdout)) == changed


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lora_rank=64", "lora_rank"),
        ("+lora_rank=64", "lora_rank: no such key; did you mean 'lora_r'?"),
        ("lora_r=abc", "lora_r: 'abc' should be a valid integer"),
        ("learning_rate=-1", "learning_rate: -1 should be greater than 0"),
    ],
)
def test_a_wrong_setting_of_an_experiment_stops_before_anything_runs(clean_built, setting, message):
    done = clean_built.run("dvc", "exp", "run", "-S", setting, check=False)
    assert done.returncode != 0 and message in done.stdout + done.stderr
    assert ran(done.stdout) <= {"validate"}


def test_the_package_is_the_same_bytes_again_and_verifies(clean_built):
    archive = clean_built.folder / "models/tunelock-adapter.tar.gz"
    first = archive.read_bytes()
    clean_built.run("python", "-m", "stages.package", TZ="Asia/Tokyo")
    assert archive.read_bytes() == first
    verified = clean_built.run("python", "-m", "tunelock", "verify", str(archive))
    assert "every file is as it was packed" in verified.stdout


def test_the_packed_adapter_gives_the_answers_of_the_merged_model(built, tmp_path):
    import tarfile

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tarfile.open(built.folder / "models/tunelock-adapter.tar.gz") as tar:
        tar.extractall(tmp_path)  # Python 3.11.2 has no filters yet
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(built.folder / "models/base", dtype=torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(built.folder / "models/merged", dtype=torch.float32)
    chat = [{"role": "user", "content": "Explain the weakness CWE-79."}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        packed = PeftModel.from_pretrained(base, tmp_path)(**inputs).logits
        expected = merged(**inputs).logits
    assert (packed - expected).norm() / expected.norm() < 0.02


@pytest.mark.parametrize("model", ["base", "tuned"])
def test_chat_answers_in_the_terminal(built, model):
    question = ["python", "-m", "tunelock", "chat", "--model", model, "--max-new-tokens", "5"]
    assert built.run(*question, "What is CWE-79?").stdout


def test_a_no_go_stops_the_dag_before_training(clean_built):
    clean_built.set(max_length=110)
    done = clean_built.run("dvc", "repro", check=False)
    assert done.returncode != 0 and "pilot: no-go:" in done.stderr and "train rows exceed max_length" in done.stderr
    assert "train" not in ran(done.stdout)


def test_the_lock_in_git_comes_from_the_code_in_git(monkeypatch):
    """Without data at hand: outs may be missing here, but nothing that is here may differ from dvc.lock."""
    monkeypatch.chdir(ROOT)
    for key in [key for key in os.environ if key.startswith("DVC_")]:
        monkeypatch.delenv(key)
    assert list_stale() == [], "run `dvc repro` and commit dvc.lock and metrics/"
