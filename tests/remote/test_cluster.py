"""The private sshd and Slurm: on loopback alone, with the faults that other tests need, and gone at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.remote.cluster import ROOT
from tests.remote.keeper import descendants, parents

STARTS = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may ignore it
import time
from tests.remote.cluster import running
with running("sshd", "slurm") as cluster:
    cluster.ssh("sbatch", "--mem=10M", "--wrap='setsid sleep 1234 & sleep 1234'")
    while len(cluster.left_running()) < 3:
        time.sleep(0.1)
    print(*cluster.keepers.values(), *map(cluster.process_of, ("sshd", "munged", "slurmctld", "slurmd")), flush=True)
    print(cluster.folder, flush=True)
    time.sleep(100)
"""


def listening() -> list[str]:
    """The addresses that this machine's programs listen on, and whose they are."""
    return subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_session_finds_slurm_and_a_home_of_its_own(sshd, slurm):
    assert sshd.ssh("cd && pwd && sinfo -ho %P").stdout.split("\n") == [str(sshd.home), "gpu*", "short", "closed", ""]


def test_a_job_gets_one_of_two_gpus(slurm):
    done = slurm.run("srun", "--gres=gpu:1", "--mem=10M", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert done.stdout in ("0\n", "1\n")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("unknown", "No ED25519 host key is known"),
        ("changed", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        ("locked", "Permission denied (publickey)"),
        ("closed", "Connection refused"),
    ],
)
def test_hosts_that_do_not_answer_say_why(sshd, host, said):
    done = sshd.ssh("true", host=host, check=False)
    assert done.returncode == 255
    assert said in done.stderr


def test_nothing_listens_beyond_loopback(sshd, slurm):
    ours = [line for line in listening() if any(f"pid={slurm.process_of(name)}," in line for name in
            ("sshd", "munged", "slurmctld", "slurmd"))]  # fmt: skip
    assert len(ours) == 3
    assert all("127.0.0.1:" in line for line in ours)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_daemons_and_jobs_end_with_the_tests_that_started_them(how):
    tests = subprocess.Popen([sys.executable, "-c", STARTS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pids = list(map(int, tests.stdout.readline().split()))
    folder = Path(os.fsdecode(tests.stdout.readline().rstrip(b"\n")))
    jobs = descendants(pids[1])
    assert len(jobs) > 5
    os.kill(tests.pid, how)
    tests.wait()
    end = time.monotonic() + 5
    while parents().keys() & {*pids, *jobs} or folder.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    tests.communicate()
