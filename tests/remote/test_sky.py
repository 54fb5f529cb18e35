"""Engine `sky`: SkyPilot itself reads the task and the commands; planted faults show that it refuses wrong ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunelock.remote.host_models import LocalHost, SkyHost
from tunelock.remote.hosts import find_host, load_hosts
from tunelock.remote.sky import (
    build_down,
    build_hold,
    build_launch,
    build_release,
    keep_rented,
    write_task,
)
from tunelock.run.errors import Stop

SKYPILOT = Path(os.environ.get("SKYPILOT", Path(sys.prefix, "skypilot")))  # `make test` puts it there
CHECKER = Path(__file__).with_name("read_tasks.py")
CHEAP = {"name": "cloud", "engine": "sky", "folder": "~/.tunelock/my project"}
FULL = CHEAP | {
    "accelerators": "A100:2", "cloud": "aws", "region": "us-east-1", "use_spot": True, "when_idle": "down",
    "disk_size": "1T", "idle": "90s", "keep_failed": "1h", "environment": ["HF_TOKEN"],
    "folder": "/data/it's here", "python": "/opt/python3.11",
}  # fmt: skip
FAKE = """#!/bin/sh
for last; do :; done
here=$(dirname "$0")
echo "$@" > "$here/said"
cp "$last" "$here/task"
[ ! -e "$here/fails" ]
"""
FAULTS = {
    "an unknown field": ("run: |", "rum: |"),
    "an unknown resource": ("accelerators:", "acelerators:"),
    "accelerators of another type": ('"L4:1"', "4"),
    "a count that is no number": ('"L4:1"', '"L4:x"'),
    "an unknown cloud": ("use_spot:", "infra: awz\n  use_spot:"),
    "minutes with a unit": ("idle_minutes: 10", "idle_minutes: 10m"),
    "an unknown way to wait": ("jobs_and_ssh", "sessions"),
}


def make_host(**keys) -> SkyHost:
    return SkyHost.model_validate(CHEAP | keys)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What SkyPilot makes of our tasks and commands and of the faults: one start of it for all tests."""
    assert (SKYPILOT / "done").exists(), f"no SkyPilot in {SKYPILOT}; `make {SKYPILOT}/done` puts it there"
    cheap, full = make_host(), SkyHost.model_validate(FULL)
    tasks = {
        "cheap": write_task(cheap),
        "full": write_task(full),
        "no gpu": write_task(make_host(accelerators=None, region="eu")),
    }
    for fault, (right, wrong) in FAULTS.items():
        assert right in tasks["cheap"]
        tasks[fault] = tasks["cheap"].replace(right, wrong)
    file = Path("task.yaml")
    commands = [build(cheap, file) for build in (build_launch, build_hold)] + [build_release(cheap), build_down(cheap)]
    commands.append(["sky", "launch", "--detach"])
    home = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(SKYPILOT)}
    environment["SKYPILOT_DISABLE_USAGE_COLLECTION"] = "1"
    done = subprocess.run(
        [sys.executable, str(CHECKER)], input=json.dumps({"tasks": tasks, "commands": commands}),
        cwd=home, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_skypilot_takes_the_task_of_a_host_with_the_defaults(read):
    task = read["tasks"]["cheap"]["task"]
    assert task["resources"] == {
        "accelerators": {"L4": 1}, "disk_size": 100, "use_spot": False,
        "autostop": {"idle_minutes": 10, "down": False, "wait_for": "jobs_and_ssh"},
    }  # fmt: skip
    assert not task.get("file_mounts") and not task.get("workdir") and not task.get("envs") and not task.get("secrets")


def test_skypilot_takes_every_key(read):
    resources = read["tasks"]["full"]["task"]["resources"]
    assert (resources["infra"], resources["accelerators"]) == ("aws/us-east-1", {"A100": 2})
    assert (resources["use_spot"], resources["disk_size"]) == (True, 1024)
    assert (resources["autostop"]["idle_minutes"], resources["autostop"]["down"]) == (2, True)
    assert "accelerators" not in read["tasks"]["no gpu"]["task"]["resources"]


@pytest.mark.parametrize("fault", FAULTS)
def test_skypilot_refuses_a_planted_fault(read, fault):
    assert list(read["tasks"][fault]) == ["refused"]


def test_skypilot_understands_the_commands(read):
    launch, hold, release, down, wrong = read["commands"]
    name = make_host().address
    assert (launch["command"], launch["cluster"], launch["yes"], launch["detach_run"]) == ("launch", name, True, True)
    assert launch["entrypoint"] == ["task.yaml"]
    assert (hold["command"], hold["cluster"], hold["detach_run"], hold["entrypoint"]) == (
        "exec",
        name,
        True,
        ["task.yaml"],
    )
    assert (release["command"], release["cluster"], release["all"], release["yes"]) == ("cancel", name, True, True)
    assert (down["command"], down["clusters"], down["yes"]) == ("down", [name], True)
    assert "--detach" in wrong["refused"]


def test_no_variable_and_no_key_of_the_user_passes_skypilot(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "the value")
    text = write_task(SkyHost.model_validate(FULL))
    assert "HF_TOKEN" not in text and "the value" not in text and ".ssh" not in text and "mounts" not in text


def read_script(text: str, key: str) -> str:
    """The shell lines below a key of the task."""
    lines = text.split(f"\n{key}: |\n")[1].splitlines()
    return "\n".join(line[2:] for line in lines if line.startswith("  "))


@pytest.mark.parametrize("host", [CHEAP, FULL], ids=["cheap", "full"])
def test_the_shell_lines_are_sound(host):
    text = write_task(SkyHost.model_validate(host))
    for key in ("setup", "run"):
        subprocess.run(["sh", "-n"], input=read_script(text, key), text=True, check=True)


def test_the_machine_is_held_by_our_job_script_of_the_newest_code(tmp_path):
    script = read_script(write_task(make_host(python=sys.executable)), "run")
    nothing_yet = subprocess.run(["sh", "-c", script], env={"HOME": str(tmp_path)}, capture_output=True, check=True)
    assert nothing_yet.stdout == b""
    code = tmp_path / ".tunelock/my project/code"
    code.mkdir(parents=True)
    for number, name in enumerate(("new", "old")):
        (code / f"{name}.zip").write_text(f"import sys; print('{name}', sys.argv[1:])")
        os.utime(code / f"{name}.zip", (10 - number, 10 - number))
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    held = subprocess.run(["sh", "-c", script], env=environment, text=True, capture_output=True, check=True)
    assert held.stdout == f"new ['hold', '{tmp_path}/.tunelock/my project', '1800']\n"


@pytest.fixture
def fake_sky(tmp_path, monkeypatch):
    """A `sky` that writes down its arguments and the task; it fails where a file `fails` lies beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sky").write_text(FAKE)
    (folder / "sky").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_a_machine_is_rented_before_jobs_are_sent_and_held_afterwards(fake_sky):
    host = make_host()
    with keep_rented(host):
        assert (fake_sky / "said").read_text().startswith(f"launch --yes --detach-run --cluster {host.address} ")
        assert (fake_sky / "task").read_text() == write_task(host)
    assert (fake_sky / "said").read_text().startswith(f"exec --detach-run {host.address} ")


def test_jobs_that_could_not_be_sent_hold_nothing(fake_sky):
    with pytest.raises(Stop, match="no room"), keep_rented(make_host()):
        raise Stop("no room")
    assert (fake_sky / "said").read_text().startswith("launch ")


def test_other_hosts_need_no_skypilot(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with keep_rented(LocalHost(name="here", engine="local")):
        pass


def test_what_skypilot_cannot_do_is_a_sentence(fake_sky, monkeypatch):
    with pytest.raises(Stop, match=r"`sky exec` failed for cloud; .* the machine ends after 10 min as if idle"):
        with keep_rented(make_host()):
            (fake_sky / "fails").touch()
    with pytest.raises(Stop, match="`sky launch` failed for cloud; SkyPilot says why above"), keep_rented(make_host()):
        pytest.fail("the machine is not up")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Stop, match="`sky` is not installed here"), keep_rented(make_host()):
        pytest.fail("the machine is not up")


def test_a_cluster_is_named_by_project_and_host(tmp_path, monkeypatch):
    folder = tmp_path / "My_Projekt é"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("remote.yaml").write_text("hosts:\n  Big-1: {engine: sky}\n", encoding="utf-8")
    assert find_host("Big-1").address == "tunelock-my-projekt-big-1"


def test_a_spot_machine_cannot_be_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("remote.yaml").write_text("hosts:\n  a: {engine: sky, use_spot: true}\n", encoding="utf-8")
    with pytest.raises(Stop, match=r"remote.yaml:2: hosts.a: use_spot needs `when_idle: down`"):
        load_hosts()
