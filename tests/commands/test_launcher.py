"""The launcher `tunelock` runs the copy in which one stands, from any folder in it, and says so where there is none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tunelock.shipping.packing import pack_files


@pytest.fixture
def launcher(tmp_path) -> Path:
    """The launcher in a venv whose path has a space, as the Makefile puts it there."""
    folder = tmp_path / "a venv" / "bin"
    folder.mkdir(parents=True)
    shutil.copy2(ROOT / "tunelock/launcher.sh", folder / "tunelock")
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "python").chmod(0o755)
    return folder / "tunelock"


@pytest.fixture
def repository(tmp_path) -> Path:
    """What the launcher looks for and the code, in a folder with a space, and a package in a folder below it."""
    root = tmp_path / "a copy"
    shutil.copytree(ROOT / "tunelock", root / "tunelock", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "mine" / "deep").mkdir(parents=True)
    pack_files({"NOTICE": b"text\n"}, root / "mine" / "package.tar.gz")
    return root


def launch(launcher: Path, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess:
    """Run it as a shell would find it on the PATH."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TUNELOCK_FROM")}
    clean |= {"PATH": f"{launcher.parent}:{clean['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["bash", "-c", 'tunelock "$@"; exit $?', "bash", *arguments]
    return subprocess.run(command, cwd=folder, env=clean | env, capture_output=True, text=True, check=False)


def test_paths_are_read_from_where_one_stands(launcher, repository):
    for folder, path in ((repository, "mine/package.tar.gz"), (repository / "mine" / "deep", "../package.tar.gz")):
        done = launch(launcher, folder, "verify", path)
        assert (done.returncode, done.stdout) == (0, "mine/package.tar.gz: every file is as it was packed\n"), (
            done.stderr
        )
    elsewhere = repository.parent / "package.tar.gz"
    shutil.copy(repository / "mine" / "package.tar.gz", elsewhere)
    done = launch(launcher, repository / "mine", "verify", "../../package.tar.gz", "--json")
    assert json.loads(done.stdout) == {"file": str(elsewhere), "problems": []}


def test_the_copy_in_which_one_stands_is_run_and_no_other(launcher, repository):
    """As in a folder of `dvc exp run --temp`, which lies inside the repository."""
    inner = repository / ".dvc/tmp/exps/tmp1"
    shutil.copytree(repository / "tunelock", inner / "tunelock")
    (inner / "dvc.yaml").touch()
    (inner / "tunelock/__main__.py").write_text("print(__file__)")
    assert launch(launcher, inner, "verify").stdout == f"{inner}/tunelock/__main__.py\n"


def test_outside_a_repository_one_sentence_is_said(launcher, tmp_path):
    done = launch(launcher, tmp_path, "verify", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tunelock: this folder is in no repository of tunelock; go into one.\n"
    assert launch(launcher, tmp_path, _TUNELOCK_COMPLETE="complete_bash").stderr == ""


def test_completion_works_through_the_launcher(launcher, repository):
    script = launch(launcher, repository, "--show-completion")
    assert script.returncode == 0 and "complete -o default -F _tunelock_completion tunelock" in script.stdout
    words = {"_TUNELOCK_COMPLETE": "complete_bash", "COMP_WORDS": "tunelock re", "COMP_CWORD": "1"}
    done = launch(launcher, repository / "mine", **words)
    assert done.stdout.split() == ["report", "review", "remote"]
    words |= {"COMP_WORDS": "tunelock configure --preset ", "COMP_CWORD": "3"}
    assert launch(launcher, repository, **words).stdout.split() == ["conservative", "balanced", "aggressive"]
