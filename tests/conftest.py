"""Shared fixtures: the real tokenizer, a tiny random Llama, and a copy of the repository to run the DAG in."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunelock.run.hashing import sha256_path
from tunelock.run.params import load_yaml

ROOT = Path(__file__).parent.parent
# Two test processes share the cores, so each has one thread: those that wait for each other spin, and stall the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def same_signals():
    """A stage that has ended well ignores what would stop it; the process of the tests goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def real_gguf(tmp_path_factory) -> Path:
    """The default base model's GGUF file, out of its pinned wheel."""
    from stages.base import locate_model

    params = load_yaml(ROOT / "params.yaml")
    return locate_model(params["model_name_or_path"], params["model_revision"], tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="session")
def tokenizer(real_gguf):
    """The real tokenizer of the default base model."""
    from tunelock.rendering.gguf_tokenizer import load_source_tokenizer

    return load_source_tokenizer(real_gguf)


@pytest.fixture(scope="session")
def tiny_model(tokenizer, tmp_path_factory) -> Path:
    """A folder with a random two-layer Llama of 3.3 M parameters and the real tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def learnt_positions(tokenizer, tmp_path_factory) -> Path:
    """A folder with a tiny random GPT-2, which has learnt 256 positions and has no others."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("learnt")
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=256, **ends)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def records() -> list[dict]:
    """Twelve short records of three tasks."""
    from tunelock.records.record import make_messages

    answers = ["Escape the output.", "Impact: Read Application Data.", "CWE-79: Cross-site Scripting, with more words."]
    return [
        {
            "id": f"row-{number}",
            "group": f"CWE-{number % 4}",
            "task": ("mitigate", "consequences", "classify")[number % 3],
            "messages": make_messages(
                f"Question number {number}: what about CWE-{number}?",
                "" if number % 2 else "Some context.",
                answers[number % 3] + " Indeed." * (number % 5),
            ),
        }
        for number in range(12)
    ]


class Project:
    """A git and DVC repository of its own with this working tree's files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}"
        # A user has no trackers, the tests do: an empty `wandb` hides the one whose import takes seconds.
        self.env |= {"PYTHONPATH": str(ROOT / "tests/as_a_user"), "PYTHONPYCACHEPREFIX": f"{folder}.pycache"}

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess:
        """Run a command in the project; its output is captured as text."""
        done = subprocess.run(
            command, cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def set(self, **params: object) -> None:
        """Write values into params.yaml, the comments kept."""
        from ruamel.yaml import YAML

        yaml, path = YAML(), self.folder / "params.yaml"
        values = yaml.load(path)
        values.update(params)
        yaml.dump(values, path)


def copy_of_repository(folder: Path) -> Project:
    """A fresh repository of what git would commit here, without dvc.lock's history or any output."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.splitlines()):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    project = Project(folder)
    project.run("git", "init", "-q")
    project.run("git", "config", "user.email", "test@example.invalid")
    project.run("git", "config", "user.name", "test")
    return project


@pytest.fixture(scope="session")
def tiny_params(tiny_model) -> dict:
    """Params that run every stage on real data, the tiny model, and in seconds."""
    return {
        "model_name_or_path": str(tiny_model),
        "model_revision": sha256_path(tiny_model),
        "num_threads": 1,
        "max_train_samples": 48,
        "max_val_samples": 8,
        "max_test_samples": 10,
        "max_golden_samples": 10,
        "num_train_epochs": 2,
        "learning_rate": 1e-2,
        "eval_steps": 3,
        "max_new_tokens": 8,
        "max_predict_samples": 5,
        "eval_batch_size": 5,
        "pilot_samples": 1,
        "pilot_steps": 4,
    }


def build(folder: Path, params: dict) -> Project:
    """Run the whole DAG in a copy of the repository with these params, and commit what comes out."""
    project = copy_of_repository(folder)
    project.set(**params)
    (project.folder / "dvc.lock").unlink(missing_ok=True)
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "start")
    project.run("dvc", "repro")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "built")
    return project


@pytest.fixture(scope="session")
def built(tmp_path_factory, tiny_params) -> Project:
    """A copy of the repository in which `dvc repro` ran the whole DAG on a slice of real data.

    The first of the test processes that needs it builds it for all, and each copies it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    whole, done = shared / "whole", shared / "whole.done"
    with open(shared / "whole.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            build(whole, tiny_params)
            done.touch()
    folder = tmp_path_factory.mktemp("built") / "clone"
    shutil.copytree(whole, folder, symlinks=True)
    return Project(folder)
