"""One request to a host over the user's own `ssh`, or to this machine; the code that answers goes along.

`ssh HOST python -c …` starts a Python there that reads its code, the request and, with it, objects from stdin. Nothing
has to be installed on the host but Python and git, and whatever ssh knows (keys, agents, jump hosts, a connection that
is open already) holds.
"""

import functools
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tunelock.remote.hosts import Host
from tunelock.remote.ssh_errors import explain_ssh
from tunelock.remote.there.agent import MARK
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.streams import receive_objects, send_objects
from tunelock.run.errors import Stop

_READ = "import sys; exec(eval(sys.stdin.buffer.readline()))"
_START = """
import os, sys
folder, name, size = {folder!r}, {name!r}, {size}
path = os.path.join(os.path.expanduser(folder), 'code', name)
data = sys.stdin.buffer.read(size)
try:
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.partial', 'wb') as file:
            file.write(data)
        os.replace(path + '.partial', path)
except OSError as error:
    import json
    print({mark!r} + json.dumps(dict(refused='%s there: %s.' % (error.filename or folder, error.strerror))), flush=True)
    sys.exit(1)
sys.path.insert(0, path)
sys.argv[1:] = ['serve', folder]
from tunelock.remote.there.entry import main
main()
"""
Seen = Callable[[int], None]


class Connection:
    """A host, to be asked; ssh is connected once for all requests of a block."""

    def __init__(self, host: Host, options: list[str]) -> None:
        self.host, self.options = host, options

    def ask(self, verb: str, send: Iterable[str] = (), cache: Path | None = None, seen: Seen = lambda n: None, **request: Any) -> Any:
        """The answer to a request; `send` are objects of `cache` that go along. Raises `Stop` with the host's sentence."""
        with self._open(verb, **request) as (given, answers):
            with suppress(BrokenPipeError):  # then the answer says why it listens no longer
                if cache is not None:
                    send_objects(cache, send, given, seen)
                given.close()
            return self._read_answer(answers)

    def fetch(self, paths: list[str], cache: Path, seen: Seen) -> int:
        """Take objects of the host into `cache`; how many bytes came."""
        with self._open("get", paths=paths) as (given, answers):
            self._read_answer(answers)
            try:
                return receive_objects(cache, answers, seen)
            except Refused as refusal:
                raise Stop(f"{self.host.name}: {refusal}") from None

    def read_log(self, job: str, follow: bool, lines: int | None) -> Iterator[bytes]:
        """The log of a job in pieces, as it comes."""
        with self._open("logs", jobs=[job], follow=follow, lines=lines) as (given, answers):
            self._read_answer(answers)
            while piece := answers.read1(1 << 16):  # type: ignore[attr-defined]
                yield piece

    @property
    def git(self) -> dict[str, str]:
        """The environment in which git reaches the host."""
        return {"GIT_SSH_COMMAND": shlex.join(["ssh", *self.options]), "GIT_TERMINAL_PROMPT": "0"}

    def name_repository(self, root: str) -> str:
        """The address of the host's repository for git; `root` is its folder, as `prepare` gives it."""
        if self.host.engine == "local":
            return f"{root}/repo.git"
        separator = "" if self.host.address.startswith("ssh://") else ":"
        return f"{self.host.address}{separator}{root}/repo.git"

    @contextmanager
    def _open(self, verb: str, **request: Any) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        code = pack_code()
        start = _START.format(folder=self.host.folder, name=f"{_hash(code)}.zip", size=len(code), mark=MARK.decode())
        with tempfile.TemporaryFile() as errors:
            process = self._start(errors)
            try:
                process.stdin.write(repr(start).encode() + b"\n" + code + json.dumps({"verb": verb, **request}).encode() + b"\n")
                process.stdin.flush()
                self._skip_greetings(process.stdout)
                yield process.stdin, process.stdout
            except (BrokenPipeError, _NoAnswer):
                process.kill() if self.host.engine == "local" else None
                code_ = process.wait()
                errors.seek(0)
                raise Stop(explain_ssh(self.host, code_, errors.read().decode(errors="replace"))) from None
            finally:
                for pipe in (process.stdin, process.stdout):
                    with suppress(BrokenPipeError):
                        pipe.close()
                _end(process)

    def _start(self, errors: IO[bytes]) -> subprocess.Popen:
        python = self.host.python
        if self.host.engine == "local":
            command = [python, "-c", _READ]
        else:
            remote = f"exec {shlex.quote(python)} -c {shlex.quote(_READ)}"
            command = ["ssh", *self.options, "-T", "--", self.host.address, remote]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment)

    def _skip_greetings(self, answers: IO[bytes]) -> None:
        """Pass over what the shell there prints first."""
        for line in answers:
            if line == MARK:
                return
        raise _NoAnswer

    def _read_answer(self, answers: IO[bytes]) -> Any:
        line = answers.readline()
        if not line.endswith(b"\n"):
            raise _NoAnswer
        answer = json.loads(line)
        if "refused" in answer:
            raise Stop(f"{self.host.name}: {answer['refused']}")
        return answer["value"]


class _NoAnswer(Exception):
    """The host's Python did not come to answer, or broke off."""


@contextmanager
def connect(host: Host) -> Iterator[Connection]:
    """A connection to the host; one login for the whole block, unless the user's ssh shares connections already."""
    if host.engine == "local":
        yield Connection(host, [])
        return
    if not shutil.which("ssh"):
        raise Stop("`ssh` is not installed here; install it (Debian: `sudo apt-get install openssh-client`).")
    options = [*host.ssh, "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
    if not sys.stdin.isatty():
        options += ["-o", "BatchMode=yes"]
    with tempfile.TemporaryDirectory(prefix="tl") as folder:
        shared = [] if _shares_connections(host) else ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/c", "-o", "ControlPersist=60"]
        try:
            yield Connection(host, [*options, *shared])
        finally:
            if shared:
                subprocess.run(
                    ["ssh", *options, *shared, "-O", "exit", "--", host.address], capture_output=True, check=False
                )


def _shares_connections(host: Host) -> bool:
    told = subprocess.run(["ssh", *host.ssh, "-G", "--", host.address], capture_output=True, text=True, check=False).stdout
    return any(line.startswith("controlpath ") and line != "controlpath none" for line in told.splitlines())


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _hash(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()[:16]


@functools.cache
def pack_code() -> bytes:
    """The host's side as a zip, the same bytes for the same code."""
    packed, root = io.BytesIO(), Path(__file__).parents[2]
    files = sorted((root / "tunelock" / "remote" / "there").glob("*.py"))
    texts = {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    texts |= {"tunelock/__init__.py": b"", "tunelock/remote/__init__.py": b""}
    texts["__main__.py"] = b"from tunelock.remote.there.entry import main\n\nmain()\n"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
