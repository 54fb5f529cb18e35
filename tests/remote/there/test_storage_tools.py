"""What a bucket needs is installed beside a job's environment, once, and no file with another hash."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.storage_tools import ensure_storage_tools

WHEEL = "made_up_s3-1.0-py3-none-any.whl"
INSIDE = {
    "made_up_s3.py": "here = True\n",
    "made_up_s3-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: made-up-s3\nVersion: 1.0\n",
    "made_up_s3-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "made_up_s3-1.0.dist-info/RECORD": "",
}
PYTHON = Path(sys.executable)


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A clone whose lock names a wheel in a folder, where alone pip looks."""
    wheels, clone = tmp_path / "wheels", tmp_path / "a clone"
    wheels.mkdir()
    (clone / "locks").mkdir(parents=True)
    with zipfile.ZipFile(wheels / WHEEL, "w") as wheel:
        for name, text in INSIDE.items():
            wheel.writestr(name, text)
    digest = hashlib.sha256((wheels / WHEEL).read_bytes()).hexdigest()
    (clone / "locks/s3.txt").write_text(f"made-up-s3==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return clone


def test_it_is_installed_once_and_found(clone, tmp_path):
    said = []
    path = ensure_storage_tools(tmp_path, clone, PYTHON, said.append, module="made_up_s3")
    assert path.parent == tmp_path / "env"
    assert ensure_storage_tools(tmp_path, clone, PYTHON, said.append, module="made_up_s3") == path
    assert said == [f"installs dvc-s3 from locks/s3.txt into {path}"]
    subprocess.run([PYTHON, "-c", "import made_up_s3"], env={"PYTHONPATH": str(path)}, check=True)


def test_an_environment_that_has_it_gets_nothing_more(clone, tmp_path):
    assert ensure_storage_tools(tmp_path, clone, PYTHON, pytest.fail, module="json") is None


def test_another_hash_is_refused_and_leaves_nothing(clone, tmp_path):
    lock = clone / "locks/s3.txt"
    lock.write_text(f"made-up-s3==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(Refused, match=r"made-up-s3.* was not installed: .* has the sha256 .*locks/s3.txt expects 0000"):
        ensure_storage_tools(tmp_path, clone, PYTHON, lambda sentence: None, module="made_up_s3")
    assert list((tmp_path / "env").glob("*")) == []


def test_a_commit_without_the_lock_is_refused(clone, tmp_path):
    (clone / "locks/s3.txt").unlink()
    with pytest.raises(Refused, match=r"locks/s3.txt is not in this commit"):
        ensure_storage_tools(tmp_path, clone, PYTHON, pytest.fail, module="made_up_s3")
