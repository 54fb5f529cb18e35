"""The Dockerfile, which no test builds: its commands are the Makefile's, and it takes along what they need."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()


def arguments_of(word: str) -> list[str]:
    """What stands behind an instruction, each time that it stands there."""
    return [line.removeprefix(f"{word} ") for line in LINES if line.startswith(f"{word} ")]


def copy_what_is_copied(target: Path) -> None:
    """The files that the image has when it makes the environment."""
    for line in arguments_of("COPY")[:-1]:
        *sources, place = line.split()
        for source in sources:
            path = target / place / (Path(source).name if place.endswith("/") else "")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(ROOT / source, path) if (ROOT / source).is_dir() else shutil.copy(ROOT / source, path)


def test_the_base_is_named_by_its_digest_and_has_the_python_of_the_project():
    [base] = arguments_of("FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-bookworm@sha256:[0-9a-f]{64}", base)


def test_what_it_runs_are_targets_of_the_makefile():
    commands = [line.split() for line in arguments_of("RUN")]
    commands += [re.findall(r'"([^"]+)"', line) for line in arguments_of("CMD")]
    assert [command[:2] for command in commands] == [["make", ".venv/done"], ["make", "repro"]]
    for _, target, *_ in commands:
        assert subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert arguments_of("ENTRYPOINT") == []


@pytest.mark.parametrize("lock", ["cpu", "cuda"])
def test_the_environment_is_made_from_the_files_that_are_copied_before_it(tmp_path, lock):
    copy_what_is_copied(tmp_path)
    done = subprocess.run(["make", "--dry-run", ".venv/done", f"LOCK={lock}"], cwd=tmp_path, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"-m tunelock.remote.there.installing .venv {lock}" in done.stdout
    code = "import runpy; runpy.run_module('tunelock.remote.there.installing'); print('found')"
    found = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.stdout == "found\n", found.stderr


def test_what_git_ignores_stays_outside_the_image_too():
    def read_patterns(file: Path, folder: str = "") -> set[str]:
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        return {"!" * line.startswith("!") + folder + line.strip("!*/").removesuffix("/*") for line in lines}

    ignored = read_patterns(ROOT / ".gitignore") | read_patterns(ROOT / ".dvc/.gitignore", ".dvc/")
    assert ignored == read_patterns(ROOT / ".dockerignore")
