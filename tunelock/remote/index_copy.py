"""git on a copy of the index: it may be told to add all, and the repository's own index stays as it is."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tunelock.run.errors import Stop

# The file watcher and the shared index write beside the index, the optional locks write to it.
_SETTINGS = ("-c", "core.fsmonitor=false", "-c", "core.splitIndex=false", "-c", "advice.addEmbeddedRepo=false")


class IndexCopy(NamedTuple):
    """The root of the working tree, and the file that stands in for the index."""

    root: Path
    index_file: Path

    def run(self, *arguments: str, stdin: bytes = b"", variables: dict[str, str] | None = None) -> bytes:
        """The output of one git command at the root; `Stop` with what git says if it fails."""
        command, environment = self._prepare(*arguments), self._name_index() | (variables or {})
        done = subprocess.run(command, cwd=self.root, env=environment, input=stdin, capture_output=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
            marked = [line for line in said if line.startswith(("fatal:", "error:"))]
            raise Stop(f"`git {' '.join(arguments)}` failed: {(marked or said or ['no message'])[0]}")
        return done.stdout

    def list_paths(self, *arguments: str, stdin: Iterable[str] = ()) -> list[str]:
        """The fields that a git command with `-z` prints; `stdin` is handed over in the same form."""
        given = b"".join(os.fsencode(path) + b"\0" for path in stdin)
        return [os.fsdecode(field) for field in self.run(*arguments, stdin=given).split(b"\0") if field]

    def read_blobs(self, names: Iterable[str]) -> Iterator[bytes]:
        """The content of each blob, one at a time, from one process."""
        command = self._prepare("cat-file", "--batch")
        with subprocess.Popen(
            command, cwd=self.root, env=self._name_index(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as git:
            assert git.stdin and git.stdout
            for name in names:
                git.stdin.write(name.encode() + b"\n")
                git.stdin.flush()
                yield _read_object(git.stdout)

    def measure_blobs(self, names: Iterable[str]) -> dict[str, int]:
        """The bytes of each blob, uncompressed."""
        asked = "".join(f"{name}\n" for name in names).encode()
        sizes = {}
        for line in self.run("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=asked).splitlines():
            name, _, size = line.decode().partition(" ")
            sizes[name] = int(size)
        return sizes

    def _prepare(self, *arguments: str) -> list[str]:
        return ["git", *_SETTINGS, *arguments]

    def _name_index(self) -> dict[str, str]:
        return os.environ | {"GIT_INDEX_FILE": str(self.index_file), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _read_object(source: IO[bytes]) -> bytes:
    size = int(source.readline().split()[-1])
    return source.read(size + 1)[:-1]


@contextmanager
def copy_index() -> Iterator[IndexCopy]:
    """The repository around the current folder with a copy of its index, which is gone after the block.

    The copy keeps its time: a file that changed within a second of it is then read again, not believed to be the same.
    """
    root = _ask_git("rev-parse", "--show-toplevel")
    with tempfile.TemporaryDirectory(prefix="tunelock-index-") as folder:
        own, copy = Path(_ask_git("rev-parse", "--git-path", "index")), Path(folder) / "index"
        if own.exists():
            shutil.copy2(own, copy)
        yield IndexCopy(Path(root), copy)


def _ask_git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError:
        raise Stop("`git` is not installed; install it.") from None
    if done.returncode:
        raise Stop(f"{Path.cwd()} lies in no working tree of git; go to the repository, or run `git init`.")
    return os.fsdecode(done.stdout.removesuffix(b"\n"))
