"""The bare repository of a host, and the refs that keep snapshots and results in it."""

import subprocess
import time
from pathlib import Path

from tunelock.remote.there.locking import hold
from tunelock.remote.there.refusal import Refused

_HOUR = 3600.0  # seconds


class Snapshots:
    """`repo.git` below the folder of a host: a ref for the snapshot of each job, and one for each result."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "repo.git"

    def make(self) -> None:
        """Make the repository if it is not there."""
        with hold(self.root / "locks" / "repository.lock"):  # git makes one badly twice at once
            if not (self.path / "HEAD").exists():
                self._call_git("init", "--quiet", "--bare", str(self.path))
                self._call_git("-C", str(self.path), "config", "receive.shallowUpdate", "true")  # a CI's checkout

    def refuse_another(self, roots: list[str]) -> None:
        """Refuse a repository that has no first commit in common with the one whose jobs lie here."""
        note = self.root / "first_commits.txt"
        known = set(note.read_text(encoding="utf-8").split()) if note.exists() else set()
        if known and roots and not known & set(roots):
            raise Refused(
                f"{self.root} holds jobs of another repository; set another `folder` for this host in remote.yaml."
            )
        if roots:
            note.write_text("\n".join(sorted(known | set(roots))), encoding="utf-8")

    def drop(self, kind: str, job: str) -> None:
        """Forget what a ref of a job keeps; `kind` is `jobs` or `results`."""
        self._call_git("-C", str(self.path), "update-ref", "-d", f"refs/tunelock/{kind}/{job}")

    def drop_those_without_job(self) -> None:
        """Forget snapshots of an hour ago or longer that became no job, for their submission broke off."""
        for ref in (self.path / "refs/tunelock/jobs").glob("*"):
            if not (self.root / "jobs" / ref.name).exists() and time.time() - ref.stat().st_mtime > _HOUR:
                self.drop("jobs", ref.name)

    def _call_git(self, *arguments: str) -> None:
        command = ["git", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or "no message").splitlines()[-1]
            raise Refused(f"`{' '.join(command)}` failed there: {said}")
