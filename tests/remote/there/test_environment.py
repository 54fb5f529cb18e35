"""An environment there: built once by its lock, held to hashes, refused in a sentence; of small wheels in a folder."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tunelock.remote.there import environment, installing
from tunelock.remote.there.environment import compare_packages, ensure_environment, hash_environment
from tunelock.remote.there.installing import describe_progress, explain_failure, install_locked, read_lock_pins
from tunelock.remote.there.refusal import Refused

PYTHON = sys.executable


def make_wheel(folder: Path, name: str, version: str) -> str:
    """A wheel with one module; its sha256."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """A folder that is all that pip looks at."""
    folder = tmp_path / "the wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    monkeypatch.setattr(installing, "CPU_INDEX", (tmp_path / "no index").as_uri())
    monkeypatch.setattr(installing, "count_gpus", lambda: 0)
    return folder


@pytest.fixture
def clone(tmp_path, wheels) -> Path:
    """A clone whose lock names two small packages, one of them called torch."""
    folder = tmp_path / "a clone"
    (folder / "locks").mkdir(parents=True)
    (folder / "tunelock").mkdir()
    (folder / "tunelock/launcher.sh").write_bytes((ROOT / "tunelock/launcher.sh").read_bytes())
    torch, small = make_wheel(wheels, "torch", "2.0+cpu"), make_wheel(wheels, "small", "1.0")
    (folder / "locks/cpu.txt").write_text(
        f"# made by hand\nsmall==1.0 \\\n    --hash=sha256:{small}\n    # via torch\n"
        f'torch==2.0 ; sys_platform != "linux" \\\n    --hash=sha256:{torch}\n'
        f'torch==2.0+cpu ; sys_platform == "linux" \\\n    --hash=sha256:{torch}\n'
    )
    return folder


@pytest.fixture(scope="module")
def empty_venv(tmp_path_factory) -> Path:
    """A venv with pip, to install into; tests of what is refused leave it as it was."""
    path = tmp_path_factory.mktemp("a venv") / "v"
    subprocess.run([PYTHON, "-m", "venv", path], check=True)
    return path


def make_mere_folder(python: str, path: Path) -> None:
    """What stands for a venv where none is needed."""
    (path / "bin").mkdir(parents=True)
    (path / "bin/python").symlink_to(python)


def forbid_building(*_args) -> None:
    raise AssertionError("built again")


def test_two_jobs_at_once_build_one_environment_and_a_third_takes_it(tmp_path, clone, monkeypatch):
    folder, said, found = tmp_path / "there", [], []
    jobs = [
        threading.Thread(target=lambda: found.append(ensure_environment(folder, clone, PYTHON, None, said.append)))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    [path] = (folder / "env").iterdir()
    assert found == [path / "bin"] * 2
    assert sum("builds the environment of locks/cpu.txt" in line for line in said) == 1
    assert sum("another job builds the environment" in line for line in said) == 1
    told = subprocess.run([path / "bin/python", "-c", "import small, torch; print(small.version, torch.version)"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert told.stdout.strip() == "1.0 2.0+cpu"
    assert (path / "bin/tunelock").read_bytes() == (ROOT / "tunelock/launcher.sh").read_bytes()
    assert os.access(path / "bin/tunelock", os.X_OK)
    assert json.loads((path / "done").read_text()).keys() == {"lock", "seconds"}
    monkeypatch.setattr(environment, "_build", forbid_building)
    assert ensure_environment(folder, clone, PYTHON, None, said.append) == path / "bin"
    _check_given_venv(path, clone, folder, monkeypatch)


def _check_given_venv(path: Path, clone: Path, folder: Path, monkeypatch) -> None:
    """The environment as one that somebody else made: taken as it is, refused with what differs."""
    assert ensure_environment(folder, clone, "no-python", str(path), print) == path / "bin"
    lock = clone / "locks/cpu.txt"
    lock.write_text(lock.read_text().replace("small==1.0", "small==1.1") + "large==3.0 \\\n    --hash=sha256:00\n")
    with pytest.raises(Refused) as refused:
        ensure_environment(folder, clone, "no-python", str(path), print)
    said = []
    assert ensure_environment(folder, folder, "no-python", str(path), said.append) == path / "bin"
    assert said == [f"this commit has no locks/cpu.txt; what is installed in {path} is taken as it is"]
    assert f"{path} has not what locks/cpu.txt names: small is 1.0 instead of 1.1; large 3.0 is missing. Run" in str(
        refused.value
    )


def test_half_an_environment_is_thrown_away_and_the_last_duration_is_told(tmp_path, clone, monkeypatch):
    folder, said = tmp_path / "there", []
    other = folder / "env/other"
    other.mkdir(parents=True)
    (other / "done").write_text('{"lock": "cpu", "seconds": 240.0}')
    name = hash_environment(clone / "locks/cpu.txt", environment._ask_python(PYTHON, environment._ABOUT))
    (folder / "env" / name / "bin").mkdir(parents=True)
    (folder / "env" / name / "half").touch()
    monkeypatch.setattr(environment, "make_venv", make_mere_folder)
    monkeypatch.setattr(environment, "install_locked", lambda *_: None)
    assert ensure_environment(folder, clone, PYTHON, None, said.append) == folder / "env" / name / "bin"
    assert not (folder / "env" / name / "half").exists() and (folder / "env" / name / "done").exists()
    assert said[0].endswith("; the last one took 4 min")


def test_a_build_that_fails_is_not_taken_for_whole(tmp_path, clone, monkeypatch):
    def fail(*_args):
        raise Refused("no")

    monkeypatch.setattr(environment, "make_venv", make_mere_folder)
    monkeypatch.setattr(environment, "install_locked", fail)
    for _ in range(2):
        with pytest.raises(Refused):
            ensure_environment(tmp_path, clone, PYTHON, None, lambda line: None)
    assert not list(tmp_path.glob("env/*/done"))


def test_another_lock_or_python_is_another_environment(clone):
    lock, about = clone / "locks/cpu.txt", ["CPython", "3.11.7", "linux-x86_64", "x86_64"]
    names = {hash_environment(lock, about), hash_environment(lock, ["CPython", "3.11.9", *about[2:]])}
    lock.write_text(lock.read_text() + "\n")
    assert len(names | {hash_environment(lock, about)}) == 3


def test_a_machine_with_a_gpu_takes_the_lock_with_cuda(tmp_path, clone, monkeypatch):
    monkeypatch.setattr(installing, "count_gpus", lambda: 1)
    with pytest.raises(Refused, match=r"locks/cuda\.txt is not in this commit; `make lock` writes it"):
        ensure_environment(tmp_path, clone, PYTHON, None, print)


def test_without_such_a_python_the_setting_is_named(tmp_path, clone):
    with pytest.raises(Refused, match=r"^no-such-python is not found there; name another one as `python` of the host"):
        ensure_environment(tmp_path, clone, "no-such-python", None, print)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\necho \'["CPython", "3.9.2", "linux-x86_64", "x86_64"]\'\n')
    old.chmod(0o755)
    with pytest.raises(Refused, match=r"python3\.9 is Python 3\.9\.2 there; name a Python 3\.11 as `python`"):
        ensure_environment(tmp_path, clone, str(old), None, print)


def test_a_file_with_another_hash_is_not_installed_and_the_sentence_says_got_and_expected(clone, wheels, empty_venv):
    lock = clone / "locks/cpu.txt"
    expected = re.search(r"small.*\n +--hash=sha256:(\w+)", lock.read_text())[1]
    with zipfile.ZipFile(wheels / "small-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("evil.py", "")
    got = hashlib.sha256((wheels / "small-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    with pytest.raises(Refused) as refused:
        install_locked(empty_venv, lock, print)
    assert re.match(
        r"small 1\.0 was not installed: \S+small-1\.0-py3-none-any\.whl has the sha256 " + got, str(refused.value)
    )
    assert f"and locks/cpu.txt expects {expected}. Ask who changed that file" in str(refused.value)
    assert not list(empty_venv.glob("lib/*/site-packages/small.py"))


def test_a_cpu_build_that_pip_does_not_find_is_looked_for_where_pytorch_has_it(
    clone, wheels, tmp_path, empty_venv, monkeypatch
):
    index = tmp_path / "an index/torch"
    index.mkdir(parents=True)
    wheel = wheels / "torch-2.0+cpu-py3-none-any.whl"
    wheel.rename(index / wheel.name)
    (index / "index.html").write_text(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "empty").as_uri())
    monkeypatch.setattr(installing, "CPU_INDEX", index.parent.as_uri())
    for left in empty_venv.glob("lib/*/site-packages/torch*"):
        left.unlink() if left.is_file() else shutil.rmtree(left)
    said = []
    install_locked(empty_venv, clone / "locks/cpu.txt", said.append)
    assert said[0].startswith("pip finds no CPU build of torch; looks at file://")
    assert list(empty_venv.glob("lib/*/site-packages/torch.py"))


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path, clone, monkeypatch):
    monkeypatch.setattr(installing.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1.2e9}))
    with pytest.raises(
        Refused, match=r"needs about 3 GB and 1\.2 GB are free on the disk of .*; free some, or take a folder"
    ):
        install_locked(tmp_path, clone / "locks/cpu.txt", print)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
         r"the disk of v is full; free some"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)': /simple/x/\n"
         "ERROR: No matching distribution found for torch==2.0\n",
         r"no package index is reached from there; set PIP_INDEX_URL"),
        ("ERROR: No matching distribution found for small==1.0\n",
         r"pip finds small==1\.0 of locks/cpu\.txt nowhere it looks"),
        ("ERROR: Failed building wheel for small\n",
         r"pip could not install locks/cpu\.txt: Failed building wheel for small"),
        ("", r"it said nothing"),
    ],
)  # fmt: skip
def test_what_pip_says_becomes_a_sentence(said, sentence):
    assert re.search(sentence, explain_failure(said, Path("locks/cpu.txt"), Path("v")))


def test_progress_counts_what_pip_fetched_from_an_index_a_folder_or_found_here():
    said = ["Looking in indexes: x\n", "Requirement already satisfied: a==1 in v\n", "Collecting b==2 (from -r x)\n",
            "  Downloading b-2.whl (3 MB)\n", "Processing /a folder/c-3-py3-none-any.whl (from -r x)\n"]  # fmt: skip
    assert describe_progress(said[:2], 4) == "packages: 1 of 4"
    assert describe_progress(said[:4], 4) == "packages: 2 of 4, b==2"
    assert describe_progress(said, 4) == "packages: 3 of 4, c-3-py3-none-any.whl"
    assert describe_progress([*said, "Installing collected packages: b, c\n"], 4).startswith(
        "all 4 packages are fetched"
    )


def test_of_a_build_only_the_version_counts_and_cuda_may_come_another_way():
    wanted = {"torch": "2.13.0", "nvidia-cublas": "13.1", "triton": "3.7", "numpy": "2.4.6"}
    assert compare_packages(wanted, {"torch": "2.13.0+cu130", "numpy": "2.4.6"}) == []
    assert compare_packages(wanted, {"torch": "2.12.0+cu130", "nvidia-cublas": "13.0"}) == [
        "torch is 2.12.0+cu130 instead of 2.13.0", "nvidia-cublas is 13.0 instead of 13.1", "numpy 2.4.6 is missing",
    ]  # fmt: skip


def test_the_line_for_another_system_is_passed_over(clone):
    assert read_lock_pins(clone / "locks/cpu.txt") == {
        "small": "1.0",
        "torch": "2.0+cpu" if sys.platform == "linux" else "2.0",
    }
