"""The clone on the host holds the snapshot, staged above the baseline, and makes a DVC experiment of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunelock.remote.there.clone import forget_stages, set_up_clone
from tunelock.remote.there.refusal import Refused

ODD = 'a "b"\n é.txt'


class Home:
    """A repository with one commit, a snapshot of its changed files, and the bare repository that was sent both."""

    def __init__(self, folder: Path):
        self.folder, self.bare, self.clone = folder / "at home", folder / "repo.git", folder / "jobs é" / "clone"
        self.folder.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ada Läufer")
        self.git("config", "user.email", "ada@example.invalid")

    def run(self, *command: str, folder: Path | None = None) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        done = subprocess.run(
            command, cwd=folder or self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def there(self, *arguments: str) -> str:
        return self.run("git", *arguments, folder=self.clone)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def commit_all(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD").strip()

    def send(self) -> tuple[str, str]:
        """Commit the changes beside the branch, send both commits to the bare repository; the snapshot and the head."""
        head = self.git("rev-parse", "HEAD").strip()
        snapshot = self.commit_all("snapshot")
        self.git("reset", "-q", "--soft", head)
        self.run("git", "init", "-q", "--bare", str(self.bare))
        self.git("push", "-q", str(self.bare), f"{snapshot}:refs/tunelock/jobs/1")
        return snapshot, head


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def changed(home) -> Home:
    """One file of each kind that a workspace can differ in."""
    home.write(first="1\n")
    home.commit_all("a commit before")
    home.write(stays="1\n", edited="1\n", deleted="1\n", moved="long enough to be known as moved\n", runs="#!/bin/sh\n")
    (home.folder / "folder").mkdir()
    (home.folder / "folder" / "inside").write_text("1\n")
    (home.folder / "was a file").write_text("1\n")
    home.commit_all("baseline")
    home.write(edited="2\n", new="staged at home\n")
    (home.folder / "deleted").unlink()
    (home.folder / "moved").rename(home.folder / "moved away")
    (home.folder / "runs").chmod(0o755)
    (home.folder / "link").symlink_to("edited")
    (home.folder / ODD).write_text("odd\n")
    shutil.rmtree(home.folder / "folder")
    (home.folder / "folder").write_text("a file where a folder was\n")
    (home.folder / "was a file").unlink()
    (home.folder / "was a file").mkdir()
    (home.folder / "was a file" / "inside").write_text("1\n")
    return home


def test_files_and_index_are_those_of_the_snapshot_and_head_is_the_baseline(changed):
    snapshot, head = changed.send()
    set_up_clone(changed.bare, changed.clone, snapshot, head)
    assert changed.there("rev-parse", "HEAD").strip() == head
    assert changed.there("write-tree") == changed.git("rev-parse", f"{snapshot}^{{tree}}")
    assert changed.there("diff", "--name-only") == changed.there("ls-files", "--others") == ""
    assert changed.there("diff", "--cached", "--name-status", "-z", "--no-renames") == changed.git(
        "diff", "--name-status", "-z", "--no-renames", head, snapshot
    )
    clone = changed.clone
    assert not (clone / "deleted").exists() and not (clone / "moved").exists()
    assert (clone / "moved away").read_text() == "long enough to be known as moved\n"
    assert os.access(clone / "runs", os.X_OK) and not os.access(clone / "edited", os.X_OK)
    assert os.readlink(clone / "link") == "edited"
    assert (clone / ODD).read_text() == "odd\n" and (clone / "was a file" / "inside").is_file()


def test_no_branch_is_checked_out_and_objects_are_borrowed(changed):
    snapshot, head = changed.send()
    set_up_clone(changed.bare, changed.clone, snapshot, head)
    assert (changed.clone / ".git" / "HEAD").read_text().strip() == head
    assert changed.there("for-each-ref") == ""
    assert changed.there("count-objects").startswith("0 objects")
    assert changed.there("config", "user.name").strip() == "Ada Läufer"


def test_a_clean_snapshot_leaves_nothing_staged(home):
    home.write(stays="1\n")
    head = home.commit_all("baseline")
    home.run("git", "init", "-q", "--bare", str(home.bare))
    home.git("push", "-q", str(home.bare), f"{head}:refs/tunelock/jobs/1")
    set_up_clone(home.bare, home.clone, head, head)
    assert home.there("status", "--porcelain") == "" and (home.clone / "stays").is_file()


def test_a_shallow_repository_is_borrowed_from_too(changed):
    """A checkout of a CI has one commit; its host takes it by `receive.shallowUpdate`."""
    deep, changed.folder = changed.folder, changed.folder.with_name("checkout")
    changed.run("git", "clone", "-q", "--depth=1", deep.as_uri(), str(changed.folder), folder=deep)
    changed.git("config", "user.name", "Ada")
    changed.git("config", "user.email", "ada@example.invalid")
    changed.run("git", "init", "-q", "--bare", str(changed.bare))
    changed.run("git", "config", "receive.shallowUpdate", "true", folder=changed.bare)
    changed.write(new="1\n")
    snapshot, head = changed.send()
    set_up_clone(changed.bare, changed.clone, snapshot, head)
    assert changed.there("diff", "--cached", "--name-only").split() == ["new"]
    changed.there("commit", "-qm", "an experiment")
    changed.there("push", "-q", "origin", "HEAD:refs/tunelock/results/1")
    changed.git("fetch", "-q", str(changed.bare), "refs/tunelock/results/1:refs/exps/1")
    assert changed.git("rev-parse", "refs/exps/1^").strip() == head


def test_what_stood_there_is_gone_but_not_what_a_link_in_it_names(changed, tmp_path):
    snapshot, head = changed.send()
    set_up_clone(changed.bare, changed.clone, snapshot, head)
    checkpoints = tmp_path / "ckpt"
    checkpoints.mkdir()
    (checkpoints / "step-3").write_text("3")
    (changed.clone / ".ckpt").symlink_to(checkpoints)
    (changed.clone / "half made").write_text("")
    set_up_clone(changed.bare, changed.clone, snapshot, head)
    assert not (changed.clone / "half made").exists() and not (changed.clone / ".ckpt").exists()
    assert (checkpoints / "step-3").is_file()


def test_a_git_that_the_environment_names_is_left_alone(changed, monkeypatch):
    snapshot, head = changed.send()
    before = changed.git("status", "--porcelain=v2", "-z")
    monkeypatch.setenv("GIT_DIR", str(changed.folder / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(changed.folder / ".git" / "index"))
    set_up_clone(changed.bare, changed.clone, snapshot, head)
    assert changed.git("status", "--porcelain=v2", "-z") == before


def test_a_snapshot_of_another_baseline_is_refused(changed):
    snapshot, _ = changed.send()
    with pytest.raises(Refused, match="the parent of snapshot"):
        set_up_clone(changed.bare, changed.clone, snapshot, "0" * 40)


def test_what_git_says_is_told(changed):
    _, head = changed.send()
    with pytest.raises(Refused, match="rev-parse"):
        set_up_clone(changed.bare, changed.clone, "1" * 40, head)


DVC_YAML = """\
stages:
  copy:
    cmd: cp source.txt out.txt && cp source.txt metrics.json
    deps: [source.txt]
    params: [x]
    outs: [out.txt]
    metrics: [{metrics.json: {cache: false}}]
"""


def test_an_experiment_run_there_holds_the_dirty_workspace_and_is_known_at_home(home):
    home.run("dvc", "init", "-q")
    home.run("dvc", "config", "core.analytics", "false")
    home.write(**{"dvc.yaml": DVC_YAML, "params.yaml": "x: 1\n", "source.txt": '{"a": 1}\n', "deleted": ""})
    home.commit_all("baseline")
    home.write(**{"source.txt": '{"a": 2}\n', "new.py": "new\n"})
    (home.folder / "deleted").unlink()
    snapshot, head = home.send()
    set_up_clone(home.bare, home.clone, snapshot, head)
    home.run("dvc", "config", "--local", "cache.dir", str(home.folder / ".dvc/cache"), folder=home.clone)
    home.run("dvc", "exp", "run", "-n", "lr", "-S", "x=3", folder=home.clone)
    ref = f"refs/exps/{head[:2]}/{head[2:]}/lr"
    home.there("push", "-q", "origin", ref)
    home.git("fetch", "-q", str(home.bare), f"{ref}:{ref}")
    assert home.git("rev-parse", f"{ref}^@").split() == [head]
    changes = home.git("diff", "--name-status", head, ref).split()
    assert " ".join(changes) == "D deleted A dvc.lock A metrics.json A new.py M params.yaml M source.txt"
    assert home.git("log", "-1", "--format=%an", ref).strip() == "Ada Läufer"
    assert "lr" in home.run("dvc", "exp", "show", "--csv")
    home.git("stash", "-q", "-u")
    home.run("dvc", "exp", "apply", "lr")
    assert (home.folder / "out.txt").read_text() == '{"a": 2}\n' and (home.folder / "new.py").is_file()
    assert not (home.folder / "deleted").exists()


LOCK = """\
schema: '2.0'
stages:
  copy:
    cmd: cp a b
    deps:
    - path: a
      md5: 60b725f10c9c85c70d97880dfe8191b3
  'each@0.1':
    cmd: "true"
    outs:
    - path: c
  train:
    cmd:
    - cp b c
    - "true"
"""


def test_forgotten_stages_leave_no_line_in_dvc_lock_and_others_all(tmp_path):
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "dvc.lock").write_text(LOCK)
    forget_stages(tmp_path, ["each@0.1", "sub/dvc.yaml:copy", "sub/dvc.yaml:train", "no such stage", "none/dvc.yaml:x"])
    head, copy, each, train = (
        "schema: '2.0'\nstages:\n",
        LOCK.index("  copy"),
        LOCK.index("  'each"),
        LOCK.index("  train"),
    )
    assert (tmp_path / "dvc.lock").read_text() == head + LOCK[copy:each] + LOCK[train:]
    assert (tmp_path / "sub/dvc.lock").read_text() == head + LOCK[each:train]
