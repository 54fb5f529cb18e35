"""How the user's own `ssh` is called: with their configuration, and what it leaves open."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from tunelock.remote.host_models import Host, SkyHost, SlurmHost, SshHost
from tunelock.run.errors import Stop

_REACHED = (SshHost, SlurmHost, SkyHost)
CONNECT_TIMEOUT = 20  # seconds for the connection and ssh's handshake, unless ~/.ssh/config has another
_SOCKET = 60  # characters of a folder; the path of a socket has at most 104, and ssh makes it longer while it connects
_ALIVE = 15  # seconds between two signs of life; four without an answer end the connection
_LOOK = 30  # seconds for a look at which Pythons there are
_PLACES = "/usr/bin /usr/local/bin /opt/*/bin ~/.local/bin ~/*conda3/bin ~/*forge3/bin ~/.pyenv/versions/*/bin"
# One line for sh, in single quotes below, so that a login shell of any kind passes it on.
_LOOK_IN = f'for d in $(echo "$PATH" | tr : "\\n") {_PLACES}'
_FIND_PYTHONS = f'{_LOOK_IN}; do ls -d "$d"/python3.[0-9]* "$d"/python3; done 2>/dev/null'


@contextmanager
def open_ssh(host: Host, batch: bool = False) -> Iterator[list[str]]:
    """The options for all calls of ssh within the block, which log in once.

    With `batch`, and where nobody sits at the terminal, ssh asks for nothing. An unknown host key is never accepted.

    Raises:
        Stop: no ssh is installed here.
    """
    if not shutil.which("ssh"):
        raise Stop("`ssh` is not installed here; install it (Debian, Ubuntu: `sudo apt-get install openssh-client`).")
    known = _read_settings(host)
    options = [*_list_options(host), "-o", "LogLevel=INFO"]  # below that ssh keeps to itself why it fails
    if known.get("connecttimeout", "none") == "none":
        options += ["-o", f"ConnectTimeout={CONNECT_TIMEOUT}"]
    if known.get("serveraliveinterval", "0") == "0":
        options += ["-o", f"ServerAliveInterval={_ALIVE}", "-o", "ServerAliveCountMax=4"]
    if batch or not sys.stdin.isatty():
        options += ["-o", "BatchMode=yes"]
    if known.get("controlpath", "none") != "none":  # the user shares connections already
        yield options
        return
    short = None if len(tempfile.gettempdir()) < _SOCKET else "/tmp"  # noqa: S108 (a folder of its own in it)
    with tempfile.TemporaryDirectory(prefix="tl", dir=short) as folder:
        options += ["-o", "ControlMaster=auto", "-o", f'ControlPath="{folder}/c"', "-o", "ControlPersist=60"]
        try:
            yield options
        finally:
            close = ["ssh", *options, "-O", "exit", "--", find_address(host)]
            subprocess.run(close, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def find_address(host: Host) -> str:
    """What ssh takes as this host's destination; empty for this machine."""
    return host.address if isinstance(host, _REACHED) else ""


def is_up(host: Host) -> bool:
    """False for a rented machine that ssh knows no longer, or not yet; SkyPilot writes its Host into ~/.ssh."""
    return not isinstance(host, SkyHost) or _read_settings(host).get("hostname") != host.address


def _list_options(host: Host) -> list[str]:
    """The options of ssh that remote.yaml gives."""
    return list(host.ssh) if isinstance(host, _REACHED) else []


def write_by_hand(host: Host) -> str:
    """What a person types to log in there."""
    return shlex.join(["ssh", *_list_options(host), find_address(host)])


def list_pythons(host: Host, options: list[str]) -> list[str]:
    """The paths of the Pythons 3 on the host, those of 3.11 first; empty where the look fails."""
    look = f"sh -c {shlex.quote(_FIND_PYTHONS)}"
    command = ["ssh", *options, "-T", "--", find_address(host), look]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOOK, check=False)
    except subprocess.TimeoutExpired:
        return []
    listed = done.stdout.decode(errors="replace").replace("\n/bin/", "\n/usr/bin/").splitlines()
    found = {line for line in listed if re.fullmatch(r"/.*/python3(?:\.\d+)?", line)}
    return sorted(found, key=_order_pythons)


def _order_pythons(path: str) -> tuple[bool, int, str]:
    minor = int(path.rpartition("python3")[2].removeprefix(".") or 0)
    return minor != 11, -minor, path


def _read_settings(host: Host) -> dict[str, str]:
    """What ssh would do for this host by its configuration; the first value of each key. Connects to nothing."""
    command = ["ssh", *_list_options(host), "-G", "--", find_address(host)]
    shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    pairs = [line.partition(" ")[::2] for line in reversed(shown.splitlines())]
    return dict(pairs)
