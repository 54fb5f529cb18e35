"""docs/remote.md: each command of the page is run as it stands there, over a real sshd and through a real Slurm.

The project is a small one with the params that the page sets; `sky` is a program that only pretends.
"""

import ast
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from docs.make_errors import text_of
from tests.command_line import run_tunelock
from tests.remote.toy import FILES, ROOT, list_experiments, make_project, run
from tunelock.remote import making_again, watch
from tunelock.remote.hosts import load_hosts

PAGE = (ROOT / "docs/remote.md").read_text(encoding="utf-8")
DAG = """stages:
  train:
    cmd: python stage.py
    deps: [stage.py]
    params: [lora_r, num_train_epochs]
    outs: [out/model.txt]
    metrics: [metrics/score.json: {cache: false}]
"""
STAGE = """import json, pathlib
text = pathlib.Path("params.yaml").read_text()
for folder in ("out", "metrics"):
    pathlib.Path(folder).mkdir(exist_ok=True)
pathlib.Path("out/model.txt").write_text(text)
pathlib.Path("metrics/score.json").write_text(json.dumps({"loss": len(text)}))
"""
PROJECT = FILES | {"dvc.yaml": DAG, "stage.py": STAGE, "params.yaml": "lora_r: 16\nnum_train_epochs: 1\n"}
# What the fixtures have in the place of the page's machines.
HERE = {"folder": "~/jobs of the page", "venv": sys.prefix, "setup": None}
ON_SLURM = {"partition": None, "account": None, "memory": "1G", "cpus": 1, "sbatch": []}


def list_commands() -> list[list[str]]:
    """Each command of the page's shell blocks as words, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def read_hosts() -> dict[str, dict]:
    """The hosts of the page's remote.yaml."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (whole,) = [block for block in blocks if "hosts:" in block]
    return YAML(typ="safe").load(whole)["hosts"]


@pytest.fixture
def project(sshd, slurm, tmp_path, monkeypatch) -> Path:
    """The project, in which the test stands, with the page's hosts at the addresses of the fixtures."""
    folder = make_project(tmp_path / "my project", PROJECT)
    monkeypatch.chdir(folder)
    hosts = read_hosts()
    for name, host in hosts.items():
        host.update(HERE | {"folder": str(tmp_path / f"the {name}")})
        if host["engine"] != "local":
            host["ssh"] = ["-F", str(sshd.ssh_config)]
        if "address" in host:
            host["address"] = name
        host.update(ON_SLURM if host["engine"] == "slurm" else {})
        for variable in host.get("environment", []):
            monkeypatch.setenv(variable, "made up")
    with open("remote.yaml", "w", encoding="utf-8") as file:
        YAML().dump({"hosts": hosts}, file)
    sky = tmp_path / "bin/sky"
    sky.parent.mkdir()
    sky.write_text("#!/bin/sh\n")
    sky.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sky.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(watch, "_LOOKS", dict.fromkeys(("local", "ssh", "slurm", "sky"), 0.3))
    monkeypatch.setattr(making_again, "_LOOK", 0.3)
    return folder


def test_each_command_of_the_page_does_what_it_says(project):
    ran = set()
    for program, *words in list_commands():
        if program != "tunelock":
            printed = run([program, *words], project)
            assert "Running stage" not in printed, "`dvc repro` runs nothing, says the page"
            continue
        done = run_tunelock(*words)
        assert done.exit_code == 0, f"tunelock {shlex.join(words)}\n{done.output}"
        ran.add(words[1])
    assert ran >= {"doctor", "submit", "watch", "status", "logs", "pull", "cancel", "resume", "verdict"}
    pulled = {words[3] for words in list_commands() if words[1:3] == ["remote", "pull"]}
    assert {name.partition("-")[0] for name in list_experiments(project)} == pulled


def test_an_experiment_is_five_commands_away():
    first = [words[:3] for words in list_commands()[:5]]
    assert [words[-2:] for words in first] == [
        ["remote", "doctor"], ["remote", "submit"], ["remote", "watch"], ["remote", "pull"], ["exp", "show"],
    ]  # fmt: skip


def test_the_page_shows_a_host_of_each_engine_as_remote_yaml_takes_it(tmp_path):
    with open(tmp_path / "remote.yaml", "w", encoding="utf-8") as file:
        YAML().dump({"hosts": read_hosts()}, file)
    found = load_hosts(tmp_path / "remote.yaml").hosts
    assert {host.engine for host in found.values()} == {"ssh", "slurm", "sky"} | {"local"}


def test_each_sentence_that_the_page_quotes_is_one_of_the_code():
    _, table = PAGE.split("| you see | do |")
    quoted = re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
    assert len(quoted) > 10
    said = []
    for file in (ROOT / "tunelock/remote").rglob("*.py"):
        texts = map(text_of, ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        said += [" ".join(text.split()) for text in texts]
    known = "\n".join(said)
    unknown = [sentence for sentence in quoted if any(part.strip() not in known for part in sentence.split("…"))]
    assert unknown == []
