"""One request to a host over the user's own `ssh`, or to this machine; the code that answers goes along.

`ssh HOST python -c …` starts a Python there that reads its code, the request and, with it, objects from stdin. Nothing
has to be installed on the host but Python and git, and whatever ssh knows (keys, agents, jump hosts, a connection that
is open already) holds. A request that breaks off ends there too: its stdin closes.
"""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from tunelock.remote.host_code import READ_START, make_start
from tunelock.remote.host_errors import explain_disk, explain_python, explain_silence, name_host
from tunelock.remote.hosts import Host
from tunelock.remote.pipes import NoAnswer, Pipes, SaysNothing
from tunelock.remote.ssh_client import find_address, list_pythons, open_ssh
from tunelock.remote.ssh_errors import AGAIN, explain_git, explain_ssh
from tunelock.remote.there.logs import SILENCE, TOO_SILENT
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.streams import receive_objects, send_objects
from tunelock.run.errors import Stop

ANSWER = 90  # seconds until Python there answers, where nobody is asked for a password meanwhile
Seen = Callable[[int], None]
_AFTER = {  # what to do when the connection breaks while a request is answered
    "submit": "`tunelock remote status` says whether the job was started; if not, run the same command again",
    "logs": "the job goes on, and `tunelock remote logs -f` shows it again",
}


class Connection:
    """A host, to be asked; ssh is connected once for all requests of a block."""

    def __init__(self, host: Host, options: list[str]) -> None:
        self.host, self.options = host, options

    def ask(
        self, verb: str, send: Iterable[str] = (), cache: Path | None = None, seen: Seen | None = None,
        tell: Callable[[str], None] | None = None, **request: Any,
    ) -> Any:  # fmt: skip
        """The answer to a request; `send` are objects of `cache` that go along, `tell` gets what is said before it.

        Raises:
            Stop: the host cannot be reached, or refuses: with its sentence.
        """
        with self._open(verb, **request) as pipes:
            with suppress(BrokenPipeError):  # then the answer says why it listens no longer
                if cache is not None:
                    self._send(cache, send, pipes.given, seen)
                pipes.given.close()
            return self._read_answer(pipes.answers, tell)

    def fetch(self, paths: list[str], cache: Path, seen: Seen) -> int:
        """Take objects of the host into `cache`; how many bytes came."""
        with self._open("get", paths=paths) as pipes:
            self._read_answer(pipes.answers)
            try:
                return receive_objects(cache, pipes.answers, seen)
            except Refused as refusal:
                raise Stop(name_host(self.host, str(refusal))) from None

    def read_log(self, job: str, follow: bool, lines: int | None) -> Iterator[bytes]:
        """The log of a job in pieces, as it comes."""
        with self._open("logs", jobs=[job], follow=follow, lines=lines) as pipes:
            self._read_answer(pipes.answers)
            with pipes.show_life(SILENCE / 4):
                while piece := pipes.answers.read1(1 << 16):  # type: ignore[attr-defined]
                    yield piece
            code = pipes.process.wait()
            if code == TOO_SILENT:
                raise Stop(name_host(self.host, f"nothing was heard of this machine for a while; {_AFTER['logs']}."))
            if code:
                raise NoAnswer

    def call_git(self, work: str, *arguments: str) -> None:
        """Run git with the host in its reach; `work` is what it does, for the sentence of the `Stop` if it fails."""
        ssh = {"GIT_SSH_COMMAND": shlex.join(["ssh", *self.options]), "GIT_SSH_VARIANT": "ssh"}
        env = os.environ | ssh | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        command = ["git", *arguments]
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise Stop(explain_git(self.host, done.stderr.decode(errors="replace"), work))

    def name_repository(self, root: str) -> str:
        """The address of the host's repository for git; `root` is its folder, as `prepare` gives it."""
        if self.host.engine == "local":
            return f"{root}/repo.git"
        address = find_address(self.host)
        if address.startswith("ssh://"):
            return f"{address.rstrip('/')}{root}/repo.git"
        user, at, machine = address.rpartition("@")
        bare = ":" in machine and not machine.startswith("[")  # IPv6
        return f"{user}{at}{f'[{machine}]' if bare else machine}:{root}/repo.git"

    @contextmanager
    def _open(self, verb: str, **request: Any) -> Iterator[Pipes]:
        with tempfile.TemporaryFile() as errors:
            pipes = Pipes(self._start(errors), errors, [])
            started = False
            try:
                with pipes.limit_silence(self._patience):
                    pipes.given.write(make_start(self.host.folder))
                    pipes.given.write(json.dumps({"verb": verb, **request}).encode() + b"\n")
                    pipes.given.flush()
                    pipes.skip_greetings()
                started = True
                yield pipes
            except SaysNothing:
                raise Stop(explain_silence(self.host, ANSWER)) from None
            except (BrokenPipeError, NoAnswer):
                ending = pipes.describe_end(started)
                raise Stop(explain_ssh(self.host, ending, self._list_pythons, _AFTER.get(verb, AGAIN))) from None
            finally:
                pipes.end()

    @property
    def _patience(self) -> float | None:
        """Seconds until the host must answer; none where ssh may be asking the person something meanwhile."""
        return ANSWER if self.host.engine == "local" or "BatchMode=yes" in self.options else None

    def _start(self, errors: IO[bytes]) -> subprocess.Popen:
        python, local = self.host.python, self.host.engine == "local"
        if local:
            command = [python, "-c", READ_START]
        else:
            remote = f"exec {shlex.quote(python)} -c {shlex.quote(READ_START)}"
            command = ["ssh", *self.options, "-T", "--", find_address(self.host), remote]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        try:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment,
                start_new_session=local,  # ^C here is none of its business, as it is none of another machine's
            )  # fmt: skip
        except OSError:
            raise Stop(explain_python(self.host, "", [])) from None

    def _list_pythons(self) -> list[str]:
        return [] if self.host.engine == "local" else list_pythons(self.host, self.options)

    def _send(self, cache: Path, paths: Iterable[str], given: BinaryIO, seen: Seen | None) -> None:
        try:
            send_objects(cache, paths, given, seen or (lambda size: None))
        except Refused as refusal:
            raise Stop(str(refusal)) from None
        except FileNotFoundError as error:
            raise Stop(f"{error.filename} was in the cache a moment ago; run the same command again.") from None

    def _read_answer(self, answers: IO[bytes], tell: Callable[[str], None] | None = None) -> Any:
        line = answers.readline()
        if not line.endswith(b"\n"):
            raise NoAnswer
        answer = json.loads(line)
        if "said" in answer:
            if tell:
                tell(answer["said"])
            return self._read_answer(answers, tell)
        if "refused" in answer:
            raise Stop(name_host(self.host, answer["refused"]))
        if "errno" in answer:
            raise Stop(explain_disk(self.host, answer["errno"], answer["error"], answer["file"]))
        if "python" in answer:
            raise Stop(explain_python(self.host, answer["python"], self._list_pythons()))
        return answer["value"]


@contextmanager
def connect(host: Host, batch: bool = False) -> Iterator[Connection]:
    """A connection to the host; one login for the whole block. With `batch` ssh asks for nothing."""
    if host.engine == "local":
        yield Connection(host, [])
        return
    with open_ssh(host, batch) as options:
        yield Connection(host, options)
