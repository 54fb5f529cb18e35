"""What another commit holds, read from git alone: no DVC cache, no second working tree."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tunelock.run.errors import Stop

_MERGED = (Path("dvc.lock"), Path("dvc.yaml"), Path("params.yaml"))


def run_git(*arguments: str) -> str:
    """The output of one git command; `Stop` with what git says is wrong if it fails."""
    return _run_to_output(["git", *arguments])


def run_dvc_json(*arguments: str) -> Any:
    """What `dvc … --json` prints; `Stop` with what DVC says is wrong if it fails."""
    _refuse_conflict_markers()
    return json.loads(_run_to_output([sys.executable, "-m", "dvc", *arguments, "--json"]) or "{}")


def _refuse_conflict_markers() -> None:
    """Stop at a merge that was left halfway: of such a file DVC says only that it is invalid."""
    for file in (path for path in _MERGED if path.is_file()):
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if line.startswith("<<<<<<< "):
                raise Stop(
                    f"{file}:{number}: a merge left its markers here; settle them (`git checkout --ours {file}` takes "
                    "this branch's side during the merge), then run `dvc repro` and commit."
                )


def find_ignored_paths(paths: list[str]) -> set[str]:
    """Those of the paths that git is told to ignore, for DVC holds them."""
    return set(_run_command(["git", "check-ignore", "-z", "--stdin"], "\0".join(paths)).stdout.split("\0"))


def _run_to_output(command: list[str]) -> str:
    """The standard output of a command that must succeed."""
    done = _run_command(command)
    if done.returncode:
        raise Stop(f"`{' '.join(command[-4:])}` failed: {_find_complaint(done.stderr.strip() or done.stdout)}")
    return done.stdout


def _find_complaint(said: str) -> str:
    """What a message says is wrong: its line of an error, the last one of a traceback, else its first two sentences.

    DVC shows an invalid file as a sentence, the place in the next paragraph and, at the end, lines of the file.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no message"]
    marked = [line for line in lines if line.lower().startswith(("error:", "fatal:"))]
    if marked or lines[0].startswith("Traceback"):
        return marked[0].partition(":")[2].strip() if marked else lines[-1]
    return " ".join([line for line in lines if not line.startswith("WARNING")][:2])


def _run_command(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, without a shell, with `stdin` on its standard input."""
    try:
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError:
        raise Stop(f"`{command[0]}` is not installed; install it.") from None


def find_commit(revision: str) -> str:
    """The 40 digits of a revision, or of `origin/REVISION` where only the remote has it, as in a CI checkout.

    Raises:
        Stop: git knows no such revision, and what to do about it.
    """
    for name in (revision, f"origin/{revision}"):
        try:
            return run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
        except Stop:
            continue
    if run_git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise Stop(f"git has no revision '{revision}' in this shallow clone; run `git fetch --unshallow origin`.")
    raise Stop(f"git has no revision '{revision}'; name a branch, tag or commit, or run `git fetch origin`.")


def read_file_at(commit: str, path: str) -> str | None:
    """The text of a file below the current folder as a commit has it, None if it has none."""
    if not run_git("ls-tree", "--name-only", commit, "--", path).strip():
        return None
    return run_git("show", f"{commit}:./{path}")


def read_bytes_at(commit: str, path: str) -> bytes | None:
    """The bytes of a file below the current folder as a commit has it, None if it has none."""
    command = ["git", "cat-file", "blob", f"{commit}:./{path}"]
    done = subprocess.run(command, capture_output=True, check=False)
    return None if done.returncode else done.stdout


def read_json_at(commit: str, path: str, missing: object) -> Any:
    """The content of a JSON file of a commit, or `missing`."""
    text = read_file_at(commit, path)
    try:
        return missing if text is None else json.loads(text)
    except json.JSONDecodeError as error:
        raise Stop(f"{path}:{error.lineno} of commit {commit[:7]}: not JSON ({error.msg}); mend it there.") from None


def name_this_commit() -> str:
    """The short name of HEAD, and whether the working tree, which is what is read, differs from it."""
    changed = run_git("status", "--porcelain", "--untracked-files=no").strip()
    return run_git("rev-parse", "--short", "HEAD").strip() + (" with uncommitted changes" if changed else "")
