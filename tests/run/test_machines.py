"""Where each stage ran: facts of the machine in a file of git, no name of it unless its owner gives one."""

import getpass
import json
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunelock.run import machines
from tunelock.run.hardware import describe_machine
from tunelock.run.machines import MACHINES, read_pins, record_machine, sum_up_inputs, sum_up_locked_inputs

ENTRY = {
    "cmd": "python -m demo",
    "deps": ["data", "stages/demo.py"],
    "params": ["rank", {"pyproject.toml": ["project"]}],
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("TUNELOCK_MACHINE", *machines._KERNEL_CHOICE):
        monkeypatch.delenv(name, raising=False)
    Path("params.yaml").write_text("rank: 16\n")
    Path("pyproject.toml").write_text('[project]\ndependencies = ["torch==2.13.0", "trl==1.16.0"]\n')
    Path("data").mkdir()
    Path("data/rows").write_text("12345")


def recorded(name: str = "train") -> dict:
    """What the file says of a stage, and of its machine."""
    found = json.loads(MACHINES.read_text())
    return found["stages"][name] | found["machines"][found["stages"][name]["machine"]]


def test_a_stage_says_what_processor_system_and_python_it_ran_on():
    record_machine("train", ENTRY)
    assert {"cpu", "architecture", "cores", "system", "python", "inputs"} <= recorded().keys()
    assert recorded()["python"] == ".".join(map(str, sys.version_info[:3]))


def test_no_host_user_or_folder_is_named(monkeypatch):
    for variable in ("HOSTNAME", "USER", "LOGNAME"):
        monkeypatch.setenv(variable, "someone-here")
    monkeypatch.setattr(socket, "gethostname", lambda: "someone-here")
    record_machine("train", ENTRY)
    text = MACHINES.read_text()
    assert os.uname().nodename not in text and "someone-here" not in text and os.getcwd() not in text
    assert f'"{getpass.getuser()}"' not in text and "name" not in recorded()


def test_a_machine_has_the_name_that_its_owner_gives_it(monkeypatch):
    monkeypatch.setenv("TUNELOCK_MACHINE", "box")
    record_machine("train", ENTRY)
    assert recorded()["name"] == "box"


def test_stages_on_one_machine_share_its_facts_and_a_machine_without_a_stage_goes(monkeypatch):
    record_machine("base", ENTRY)
    record_machine("train", ENTRY)
    assert len(json.loads(MACHINES.read_text())["machines"]) == 1
    monkeypatch.setenv("TUNELOCK_MACHINE", "box")
    record_machine("train", ENTRY)
    assert "name" not in recorded("base") and recorded("train")["name"] == "box"
    record_machine("base", ENTRY)
    assert [machine["name"] for machine in json.loads(MACHINES.read_text())["machines"].values()] == ["box"]


def test_a_process_with_torch_says_what_changes_its_bits(monkeypatch):
    record_machine("split", ENTRY)
    cpu = SimpleNamespace(get_cpu_capability=lambda: "AVX2")
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda: "NVIDIA X")
    backends = SimpleNamespace(cpu=cpu, cudnn=SimpleNamespace(version=lambda: 91000))
    version = SimpleNamespace(cuda="13.0")
    torch = SimpleNamespace(get_num_threads=lambda: 3, backends=backends, cuda=cuda, version=version)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    record_machine("train", ENTRY)
    wanted = {"threads": 3, "instruction_set": "AVX2", "device": "NVIDIA X", "cuda": "13.0", "cudnn": 91000}
    assert wanted.items() <= recorded("train").items() and recorded("train")["aten_cpu_capability"] == "avx2"


def test_only_packages_of_other_versions_than_the_pinned_ones_are_listed(monkeypatch):
    for name in ("trl-1.15.0", "torch-2.13.0+cpu", "other-1.0", "huggingface_hub-2.0"):
        Path("site", f"{name}.dist-info").mkdir(parents=True)
    Path("locks").mkdir()
    Path("locks/cuda.txt").write_text("# pins\nhuggingface-hub==2.0 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(sys, "path", ["site"])
    record_machine("train", ENTRY)
    assert recorded()["other_versions"] == {"trl": "1.15.0"}


def test_pins_are_those_of_both_files_by_the_name_that_packages_are_compared_by():
    found = read_pins("a_b==1.0\n# x==2\nc.d==2.0 ; python_version > '3'\n", '[project]\ndependencies = ["Torch==2"]')
    assert found == {"a-b": "1.0", "c-d": "2.0", "torch": "2"}
    assert read_pins("", "") == {}


LOCKED = {
    "deps": [{"path": "data", "size": 5, "md5": "x.dir"}, {"path": "stages/demo.py", "size": 99, "md5": "y"}],
    "params": {
        "params.yaml": {"rank": 16},
        "pyproject.toml": {"project": {"dependencies": ["torch==2.13.0", "trl==1.16.0"]}},
    },
}


def test_the_inputs_that_are_noted_can_be_found_again_in_the_lock():
    assert sum_up_inputs(ENTRY) == sum_up_locked_inputs(LOCKED)
    Path("params.yaml").write_text("rank: 17\n")
    assert sum_up_inputs(ENTRY) != sum_up_locked_inputs(LOCKED)
    Path("params.yaml").write_text("rank: 16\n")
    Path("data/rows").write_text("123456")
    assert sum_up_inputs(ENTRY) != sum_up_locked_inputs(LOCKED)


def test_what_a_machine_lacks_is_left_out():
    assert all(describe_machine().values())
