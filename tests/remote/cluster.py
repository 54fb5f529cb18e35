"""A real sshd and a real one-node Slurm on loopback: for the tests, and by hand for who tries docs/remote.md.

In tests: the fixtures `sshd` and `slurm` of tests/remote/conftest.py, or `with running("sshd", "slurm") as cluster`.
By hand: `make cluster` and `make cluster-stop`.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.remote.keeper import descendants
from tests.remote.private_sshd import make_environment

ROOT = Path(__file__).parent.parent.parent
BY_HAND = ROOT / ".ckpt/cluster"  # a link to the folder of the cluster that `make cluster` started
DAEMONS = ("sshd", "munged", "slurmctld", "slurmd", "slurmstepd")
SNIPPET = """\
Slurm and sshd run on loopback; `make cluster-stop` ends them. For remote.yaml:

hosts:
  box: {{engine: ssh, address: box, ssh: ["-F", "{config}"], folder: ~/tunelock/project}}
  cluster: {{engine: slurm, address: cluster, ssh: ["-F", "{config}"], folder: ~/tunelock/project, gres: gpu:1}}

By hand: ssh -F "{config}" cluster squeue
"""


@dataclass
class Cluster:
    """A folder with the configs, keys and logs, and the processes that keep its daemons."""

    folder: Path
    keepers: dict[str, int] = field(default_factory=dict)  # process ids
    _pipes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`. Its hosts: `box` and `cluster` work, `unknown` (host key), `changed` (host key),
        `locked` (our key is refused) and `closed` (nobody listens) do not."""
        return self.folder / "ssh_config"

    @property
    def home(self) -> Path:
        """What `~` is in a session."""
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """What a session on the login node finds, for those who go without ssh."""
        return {**os.environ, **make_environment(self.folder)}

    def start(self, service: str, forever: bool = False) -> None:
        """Start `sshd` or `slurm`, with `forever` beyond the end of this process. Takes one or two seconds."""
        log = open(self.folder / f"{service}_keeper.log", "wb")  # noqa: SIM115 (the keeper writes on)
        command = [sys.executable, "-m", "tests.remote.keeper", str(self.folder), service]
        keeper = subprocess.Popen(
            [*command, "--forever"] if forever else command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL if forever else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self.keepers[service] = keeper.pid
        self._pipes.append(keeper)
        assert keeper.stdout.readline() == b"ready\n", (self.folder / f"{service}_keeper.log").read_text()

    def ssh(self, *command: str, host: str = "box", check: bool = True) -> subprocess.CompletedProcess:
        """Run a command there, output as text."""
        done = subprocess.run(
            ["ssh", "-F", self.ssh_config, host, *command], capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run a command on the login node without ssh, output as text."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def process_of(self, daemon: str) -> int:
        """The process id of `sshd`, `munged`, `slurmctld` or `slurmd`."""
        return int((self.folder / f"{daemon}.process").read_text())

    def add_login(self, name: str, shell: str) -> list[str]:
        """Options of ssh for a login whose shell is this script; what is to be run there is $SSH_ORIGINAL_COMMAND."""
        key, script = self.folder / f"{name} key", self.folder / f"{name}.sh"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
            script.write_text(f"#!/bin/sh\n{shell}\n")
            script.chmod(0o755)
            with open(self.folder / "more_keys", "a") as keys:
                keys.write(f'command="\\"{script}\\"" {key.with_name(f"{key.name}.pub").read_text()}')
        return ["-F", str(self.ssh_config), "-o", f'IdentityFile="{key}"']

    def cut_connections(self) -> None:
        """Kill what serves the ssh connections, as a lost network would; what they started lives on if it may."""
        for pid in descendants(self.process_of("sshd")):
            if _command_of(pid).startswith("sshd"):
                _kill(pid)

    def left_running(self) -> list[str]:
        """The commands that run on this host beside the daemons."""
        below = [pid for keeper in self.keepers.values() for pid in descendants(keeper)]
        commands = [_command_of(pid) for pid in below]
        return [each for each in commands if each and Path(each.split()[0].rstrip(":")).name not in DAEMONS]

    def stop(self) -> None:
        """End all daemons, and whatever they started."""
        for pid in self.keepers.values():
            _kill(pid, signal.SIGTERM)
        for keeper in self._pipes:
            keeper.communicate()
        while any(Path(f"/proc/{pid}").exists() for pid in self.keepers.values()):
            time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(pid: int, how: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, how)


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def make_cluster() -> Cluster:
    """A folder for a cluster, nothing started. A space stands in its path; it is short, for munge's socket."""
    return Cluster(Path(tempfile.mkdtemp(prefix="tunelock cluster ")))


@contextmanager
def running(*services: str) -> Iterator[Cluster]:
    """A cluster that runs `sshd`, `slurm` or both for as long as the block."""
    cluster = make_cluster()
    try:
        for service in services:
            cluster.start(service)
        yield cluster
    finally:
        cluster.stop()


def start_by_hand() -> None:
    """Start both beyond this process, and say how they are reached."""
    if (BY_HAND / "slurm.conf").exists():
        sys.exit("A cluster runs already; `make cluster-stop` ends it.")
    cluster = make_cluster()
    try:
        for service in ("sshd", "slurm"):
            cluster.start(service, forever=True)
            (cluster.folder / f"{service}.keeper").write_text(str(cluster.keepers[service]))
    except BaseException:
        cluster.stop()
        raise
    BY_HAND.parent.mkdir(exist_ok=True)
    BY_HAND.unlink(missing_ok=True)
    BY_HAND.symlink_to(cluster.folder)
    print(SNIPPET.format(config=cluster.ssh_config))


def stop_by_hand() -> None:
    """End what `start_by_hand` started."""
    if not BY_HAND.exists():
        sys.exit("No cluster runs.")
    cluster = Cluster(BY_HAND.resolve())
    for file in cluster.folder.glob("*.keeper"):
        pid = int(file.read_text())
        if "tests.remote.keeper" in _command_of(pid):  # not another process that has its number now
            cluster.keepers[file.stem] = pid
    cluster.stop()
    BY_HAND.unlink()


if __name__ == "__main__":
    {"start": start_by_hand, "stop": stop_by_hand}[sys.argv[1]]()
