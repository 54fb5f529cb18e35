"""The doctor: what a host is like, in a line each, and what to do about what is wrong."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import run_tunelock
from tunelock.remote import host_checks
from tunelock.remote.there import checks, environment
from tunelock.remote.there.checks import check_machine
from tunelock.remote.there.gpu_checks import Need, check_driver, check_gpus

LOCKS = {
    "cuda": "nvidia-cuda-runtime==13.0.96 \\\n    --hash=sha256:00\n",
    "cpu": "numpy==2.0.0 \\\n    --hash=sha256:00\n",
}
NEED = Need(python=sys.executable, venv=None, gpus="auto", queue_gpus=None, locks=LOCKS, run_bytes=1_500_000_000)
# What nvidia-smi of driver 580 prints at its head, and what it answers to a query.
HEAD = "| NVIDIA-SMI 580.82.07              Driver Version: 580.82.07      CUDA Version: 13.0     |"
GPUS = "NVIDIA H200, 143771 MiB, 580.82.07\nNVIDIA H200, 143771 MiB, 580.82.07\n"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project in which the test stands, with the host `here`."""
    folder = tmp_path / "my project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "remote.yaml").write_text(
        f"hosts:\n  here: {{engine: local, folder: {tmp_path / 'the host'}, gpus: 0, venv: {sys.prefix}}}\n"
    )
    return folder


@pytest.fixture
def two_gpus(tmp_path, monkeypatch) -> None:
    """A pretended nvidia-smi."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/nvidia-smi"
    listed = "".join(f"GPU {number}: NVIDIA H200 (UUID: GPU-{number})\\n" for number in range(2))
    cases = f"-L) printf '{listed}';; --query*) printf '{GPUS}';; *) echo '{HEAD}';;"
    program.write_text(f'#!/bin/sh\ncase "$1" in {cases} esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def change(project: Path, old: str, new: str) -> None:
    """Change remote.yaml."""
    text = (project / "remote.yaml").read_text()
    assert old in text
    (project / "remote.yaml").write_text(text.replace(old, new))


def find(findings, topic: str):
    (found,) = [finding for finding in findings if finding.topic == topic]
    return found


def test_a_sound_host_is_a_line_for_each_thing(project):
    done = run_tunelock("remote", "doctor", "here")
    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.output.splitlines()] == [
        ["ok", "python"], ["ok", "git"], ["ok", "disk"], ["ok", "locks"], ["ok", "links"], ["note", "gpu"],
        ["ok", "packages"], ["ok", "clock"],
    ]  # fmt: skip
    left = [path.name for path in (project.parent / "the host").iterdir()]
    assert sorted(left) == ["code"]


def test_what_is_wrong_ends_with_1_and_is_json_too(project):
    text = Path("remote.yaml").read_text()
    Path("remote.yaml").write_text(
        text.replace(sys.prefix, "/nowhere").replace("gpus: 0", "gpus: 0, environment: [NOT_SET]")
    )
    done = run_tunelock("remote", "doctor", "here", "--json")
    assert done.exit_code == 1
    told = {one["topic"]: one for one in json.loads(done.stdout)}
    assert told["packages"]["level"] == "wrong" and "there is no /nowhere/bin/python" in told["packages"]["sentence"]
    assert told["variables"]["level"] == "wrong" and "`export` it" in told["variables"]["sentence"]
    assert told["git"]["level"] == "ok"


def test_a_host_that_lets_nobody_in_is_one_line(project, sshd):
    with open("remote.yaml", "a") as file:
        file.write(f'  box: {{engine: ssh, address: locked, ssh: ["-F", "{sshd.ssh_config}"]}}\n')
    done = run_tunelock("remote", "doctor", "box")
    assert done.exit_code == 1
    assert done.output.startswith("wrong  login      box (locked): ") and done.output.count("\n") == 1


def test_a_host_by_ssh_is_looked_at_there(project, sshd):
    with open("remote.yaml", "a") as file:
        file.write(
            f'  box: {{engine: ssh, address: box, ssh: ["-F", "{sshd.ssh_config}"], folder: ~/doctor, gpus: [3], '
            f"python: {sys.executable}, venv: {sys.prefix}}}\n"
        )
    done = run_tunelock("remote", "doctor", "box")
    lines = {line.split()[1]: line for line in done.output.splitlines()}
    assert done.exit_code == 1
    assert "ssh comes in and Python answers" in lines["login"] and f"{sshd.home}/doctor" in lines["disk"]
    assert lines["gpu"].startswith("wrong") and lines["packages"].startswith("ok")


def test_a_cluster_is_asked_and_a_node_looked_at(project, sshd, slurm):
    with open("remote.yaml", "a") as file:
        file.write(
            f'  uni: {{engine: slurm, address: cluster, ssh: ["-F", "{sshd.ssh_config}"], folder: ~/doctor, '
            f"memory: 100M, cpus: 1, python: {sys.executable}, venv: {sys.prefix}}}\n"
        )
    done = run_tunelock("remote", "doctor", "uni")
    lines = done.output.splitlines()
    assert done.exit_code == 0, done.output
    assert any(line.startswith("ok     slurm      Slurm would take the job") for line in lines)
    assert any(line.startswith("ok     node       node ") for line in lines)
    assert not [line for line in lines if " gpu  " in line]  # those of the login node do not matter


@pytest.mark.parametrize(("offset", "words"), [(-300, "5 min behind this one"), (7200, "2 h ahead of this one")])
def test_a_clock_that_is_wrong_is_told(project, monkeypatch, offset, words):
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - offset)  # of the laptop
    assert words in run_tunelock("remote", "doctor", "here").output


def test_room_is_reckoned_with_the_environment_and_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "reach_index", lambda: (True, "reached"))
    room = find(check_machine(tmp_path, NEED), "disk")
    assert room.sentence.endswith("and a run needs 6 GB (3 for the environment, 1.5 for its data and results)")
    full = find(check_machine(tmp_path, NEED._replace(run_bytes=10**15)), "disk")
    assert full.good is False and full.sentence.endswith("; free some.")


def test_an_environment_that_is_there_is_found_and_needs_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "reach_index", lambda: (None, "not reached"))
    before = list(check_machine(tmp_path, NEED))
    assert "the environment is not there" in find(before, "packages").sentence
    assert find(before, "index").good is None
    made = []
    monkeypatch.setattr(environment, "install_launcher", lambda *args: None)
    monkeypatch.setattr(environment, "choose_lock", lambda: "cpu")
    monkeypatch.setattr(environment, "_build", lambda path, *rest: make_environment(path, made))
    files = {f"locks/{name}.txt": text for name, text in LOCKS.items()}
    tools = checks.install_environment(tmp_path, files, NEED, print)
    after = list(check_machine(tmp_path, NEED))
    assert tools == str(made[0] / "bin")
    assert find(after, "packages").good and "for the environment" not in find(after, "disk").sentence
    assert not [finding for finding in after if finding.topic == "index"]


def make_environment(path: Path, made: list[Path]) -> None:
    (path / "bin").mkdir(parents=True)
    (path / "bin/python").symlink_to(sys.executable)
    (path / "done").write_text("{}")
    made.append(path)


def test_install_tells_how_far_it_is_and_why_it_fails(project):
    Path("remote.yaml").write_text(
        Path("remote.yaml").read_text().replace(f", venv: {sys.prefix}", ", python: /bin/false")
    )
    done = run_tunelock("remote", "doctor", "here", "--install")
    assert done.exit_code == 1 and "`/bin/false` ended there" in done.output
    Path("remote.yaml").write_text(
        Path("remote.yaml").read_text().replace("python: /bin/false", f"python: {sys.executable}")
    )
    done = run_tunelock("remote", "doctor", "here", "--install")
    assert "wrong  install    here: locks/cpu.txt is not in this commit" in done.output


def test_gpus_and_their_driver_are_told(two_gpus):
    found = list(check_gpus(NEED))
    assert [(one.topic, one.good, one.sentence) for one in found] == [
        ("gpu", True, "2 x NVIDIA H200, 143771 MiB, driver 580.82.07"),
        ("driver", True, "the driver runs CUDA up to 13.0; torch of locks/cuda.txt needs 13.0"),
    ]
    assert "`gpus` names number 5, and they are 0 to 1" in list(check_gpus(NEED._replace(gpus=[0, 5])))[1].sentence


@pytest.mark.parametrize(
    ("shown", "good", "words"),
    [
        (
            "CUDA Version: 12.4 ",
            False,
            "up to 12.4, and torch of locks/cuda.txt needs 13.0; ask for a driver of 580",
        ),
        ("CUDA Version: 13.0 ", True, "runs CUDA up to 13.0"),
        ("CUDA UMD Version: 13.2 ", True, "runs CUDA up to 13.2"),
        ("CUDA Version: 14.0 ", True, "runs CUDA up to 14.0"),
        ("", None, "does not say"),
    ],
)
def test_a_driver_that_is_too_old_for_the_lock_is_wrong(shown, good, words):
    found = check_driver(shown, 13, 0)
    assert found.good is good and words in found.sentence


def test_the_link_that_works_first_is_told(tmp_path, monkeypatch):
    def fail(*paths):
        raise OSError

    monkeypatch.setattr(checks, "_make_reflink", fail)
    assert "hardlink: " in checks._check_links(tmp_path).sentence
    monkeypatch.setattr(checks.os, "link", fail)
    assert "symlink: " in checks._check_links(tmp_path).sentence
    monkeypatch.setattr(checks.os, "symlink", fail)
    assert checks._check_links(tmp_path).good is None and list(tmp_path.iterdir()) == []


def test_locks_that_the_file_system_does_not_keep_are_wrong(tmp_path, monkeypatch):
    assert checks._check_locks(tmp_path).good
    monkeypatch.setattr(checks.fcntl, "flock", lambda *args: None)
    assert checks._check_locks(tmp_path).good is False


def test_a_run_is_measured_by_the_lock_of_dvc(project):
    assert host_checks._measure_run() == 0
    outs = [{"path": "a", "md5": "1", "size": 5}, {"path": "b", "md5": "2", "size": 7}]
    Path("dvc.lock").write_text(json.dumps({"stages": {"one": {"outs": outs}, "two": {"outs": outs[:1]}, "three": {}}}))
    assert host_checks._measure_run() == 12


def test_the_help_of_each_command_has_an_example_and_fits():
    names = ("submit", "status", "watch", "logs", "cancel", "resume", "pull", "doctor")
    for name in names:
        shown = run_tunelock("remote", name, "--help").output
        assert f"Example: tunelock remote {name}" in " ".join(shown.split()), name
        assert len(shown.splitlines()) <= 40, name


def test_looking_at_a_host_loads_no_torch_and_no_dvc():
    code = "import sys, tunelock.commands.remote, tunelock.remote.host_checks, tunelock.remote.job_table\n"
    code += "sys.exit(bool({'torch', 'dvc', 'pandas', 'transformers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sentence_of_the_doctor_breaks_between_words():
    checked = host_checks._HostLine("disk", "ok", "75 GB are free below /a/long folder/of a host, and a run needs 3 GB")
    lines = host_checks.describe_checked(checked, 60).splitlines()
    assert max(map(len, lines)) <= 60 and {line[:18] for line in lines[1:]} == {" " * 18}
    assert " ".join(line[18:] for line in lines) == checked.sentence
    assert len(host_checks.describe_checked(checked, 10_000).splitlines()) == 1
