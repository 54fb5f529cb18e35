"""One process that starts daemons and whatever comes of them, and ends all of it when it is told to or left alone.

`python -m tests.remote.keeper FOLDER SERVICE [--forever]`: starts the daemons of `sshd` or `slurm`, says `ready`, and
stays. It ends by SIGTERM and, without `--forever`, when its standard input closes: so also when the tests are killed,
and then it removes FOLDER too. What the daemons and their jobs leave behind becomes a child of this process
(PR_SET_CHILD_SUBREAPER), so none is missed.
"""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tests.remote.private_slurm import slurm_commands, write_slurm
from tests.remote.private_sshd import sshd_commands, write_sshd

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
SECONDS_TO_START = 15
TRIES = 3  # a port that was free may be taken a moment later
WRITE = {"sshd": write_sshd, "slurm": write_slurm}
COMMANDS = {"sshd": sshd_commands, "slurm": slurm_commands}


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def parents() -> dict[int, int]:
    """The parent of every process of this machine that has not ended."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if state not in "ZX":
            found[int(stat.parent.name)] = int(parent)
    return found


def descendants(root: int) -> list[int]:
    """The processes below one, parents before their children."""
    below, children = [root], parents()
    for pid in below:
        below += [child for child, parent in children.items() if parent == pid]
    return below[1:]


def kill_descendants(root: int) -> None:
    """Kill what is below a process, and what is born meanwhile."""
    end = time.monotonic() + 10
    while found := descendants(root):
        assert time.monotonic() < end, f"processes {found} do not end"
        for pid in found:
            _kill(pid)
        _bury()
        time.sleep(0.01)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _bury() -> None:
    """Take the exit status of each child that ended, ours or an orphan."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _start(folder: Path, name: str, command: list[str]) -> None:
    """Start a daemon that is killed if this process is. Its process id stands in FOLDER/NAME.process."""
    with open(folder / f"{name}.out", "wb") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    (folder / f"{name}.process").write_text(str(process.pid))
    process.returncode = 0  # `_bury` takes the real one


def _wait_for(is_ready: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        if is_ready():
            return True
        _bury()
        time.sleep(0.05)
    return False


def _sshd_answers(folder: Path, ports: list[int]) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", ports[0])) == 0


def _node_is_idle(folder: Path, ports: list[int]) -> bool:
    shown = subprocess.run(
        ["sinfo", "--noheader", "--partition=gpu", "--format=%T"],
        env={**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"},
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() == "idle"


READY = {"sshd": _sshd_answers, "slurm": _node_is_idle}


def start_service(folder: Path, service: str) -> bool:
    """Write the config with free ports and start the daemons; whether they are ready for work."""
    ports = free_ports(2)
    WRITE[service](folder, *ports)
    for name, command in COMMANDS[service](folder).items():
        _start(folder, name, command)
        if name == "munged" and not _wait_for((folder / "munge.socket").exists):
            return False
    return _wait_for(lambda: READY[service](folder, ports))


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit


def keep(folder: Path, service: str, forever: bool) -> None:
    """Start a service, and stay until SIGTERM or the end of standard input."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the tests, which then close our standard input
    try:
        for _ in range(TRIES):
            if start_service(folder, service):
                break
            kill_descendants(os.getpid())
        else:
            sys.exit(f"{service} does not start; its logs are in {folder}")
        print("ready", flush=True)
        while forever or not select.select([sys.stdin], [], [], 0)[0]:
            _bury()
            time.sleep(0.1)
        kill_descendants(os.getpid())
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_descendants(os.getpid())


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2], "--forever" in sys.argv)
