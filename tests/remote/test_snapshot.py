"""A snapshot holds the workspace as it is, leaves what git sees of it untouched, and refuses by name what must stay."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tunelock.remote.snapshot import take_snapshot
from tunelock.run.errors import Stop

ODD = 'with "quotes",\n a newline and é.txt'
TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"
OTHER_TOKEN = "hf_" + "543210ZyXwVuTsRqPoNmLkJiHgFeDcBa"


class Workspace:
    """A repository that tests change; the current folder is its root."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ada")
        self.git("config", "user.email", "ada@example.invalid")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def commit(self, **files: str) -> None:
        for name, text in files.items():
            self.write(name, text)
        self.git("add", "-A")
        self.git("commit", "-qm", "a commit")

    def look(self) -> dict[str, object]:
        """All that a snapshot must leave as it is. The index is read first, for `git status` may write to it."""
        own = self.root / ".git"
        seen: dict[str, object] = {"index": (own / "index").read_bytes()}
        for path in sorted(own.rglob("*")):
            if path.is_file() and path.relative_to(own).parts[0] != "objects" and path.name != "index":
                seen[str(path)] = path.read_bytes()
        for path in sorted(self.root.rglob("*")):
            if own not in (path, *path.parents) and not path.is_dir():
                facts = path.lstat()
                seen[str(path)] = (facts.st_mtime_ns, facts.st_mode, facts.st_ino, facts.st_size)
        return seen

    def describe(self) -> list[str]:
        return [self.git("status", "--porcelain=v2", "-z", "--ignored"), self.git("stash", "list"), self.git("reflog")]

    def files_of(self, commit: str) -> dict[str, str]:
        """The mode of each file of a commit by its path."""
        lines = self.git("ls-tree", "-r", "-z", commit).split("\0")
        return {line.partition("\t")[2]: line.split()[0] for line in lines if line}

    def read_at(self, commit: str, path: str) -> str:
        return self.git("cat-file", "blob", f"{commit}:{path}")


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Workspace:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    made = Workspace(tmp_path / "a b é")
    monkeypatch.chdir(made.root)
    return made


def refuse(max_file_mb: float = 10, allowed: tuple[str, ...] = ()) -> str:
    with pytest.raises(Stop) as stop:
        take_snapshot(max_file_mb, allowed)
    assert "\n" not in str(stop.value)
    return str(stop.value)


@pytest.fixture
def dirty(workspace) -> Workspace:
    """A workspace in which a file differs in each way that git knows."""
    workspace.write("gone", "1")
    workspace.write("folder/inside", "1")
    workspace.write("moved", "long enough to be known again\n")
    workspace.commit(both="1\n", staged="1\n", runs="#!/bin/sh\n", stays="1\n", kept="1\n", stashed="1\n")
    workspace.write("stashed", "2\n")
    workspace.git("stash", "-q")
    workspace.write(".gitignore", "ignored*\n")
    workspace.write("both", "2\n")
    workspace.write("staged", "2\n")
    workspace.write("ignored but added", "1\n")
    workspace.git("add", "both", "staged")
    workspace.git("add", "-f", "ignored but added")
    workspace.git("rm", "-q", "--cached", "kept")
    workspace.git("mv", "moved", "moved away")
    workspace.write("both", "3\n")
    workspace.write(ODD, "odd\n")
    workspace.write("new folder/new", "new\n")
    workspace.write("only announced", "1\n")
    workspace.git("add", "-N", "only announced")
    workspace.write("ignored", "1\n")
    (workspace.root / "runs").chmod(0o755)
    (workspace.root / "link").symlink_to("/nowhere at all")
    (workspace.root / "gone").unlink()
    shutil.rmtree(workspace.root / "folder")
    return workspace


def test_a_dirty_workspace_is_taken_as_its_files_are(dirty):
    snapshot = take_snapshot(10)
    assert dirty.files_of(snapshot.commit) == {
        ".gitignore": "100644", "both": "100644", "ignored but added": "100644", "kept": "100644", "link": "120000",
        "moved away": "100644", "new folder/new": "100644", "only announced": "100644", "runs": "100755",
        "staged": "100644", "stashed": "100644", "stays": "100644", ODD: "100644",
    }  # fmt: skip
    assert dirty.read_at(snapshot.commit, "both") == "3\n"
    assert dirty.read_at(snapshot.commit, "stashed") == "1\n"
    assert dirty.read_at(snapshot.commit, "link") == "/nowhere at all"
    assert dirty.git("rev-parse", f"{snapshot.commit}^@").split() == [snapshot.head]
    assert snapshot.head == dirty.git("rev-parse", "main").strip()
    assert set(snapshot.files) == {
        ".gitignore", "both", "folder/inside", "gone", "ignored but added", "link", "moved", "moved away",
        "new folder/new", "only announced", "runs", "staged", ODD,
    }  # fmt: skip


def test_the_bytes_are_those_of_blobs_that_git_does_not_have(workspace):
    workspace.commit(one="12345\n", two="abc\n")
    workspace.write("copy of one", "12345\n")
    workspace.write("new", "123\n")
    workspace.write("new again", "123\n")
    assert take_snapshot(10).new_bytes == 4


def test_nothing_that_git_sees_changes(dirty):
    described = dirty.describe()
    before = dirty.look()
    take_snapshot(10)
    assert dirty.look() == before
    assert dirty.describe() == described


def test_the_middle_of_a_merge_stays_as_it_is(workspace):
    workspace.commit(a="1\n", b="1\n")
    workspace.git("checkout", "-qb", "side")
    workspace.commit(a="side\n")
    workspace.git("checkout", "-q", "main")
    workspace.commit(b="main\n")
    workspace.git("merge", "-q", "--no-commit", "--no-ff", "side")
    described, before = workspace.describe(), workspace.look()
    snapshot = take_snapshot(10)
    assert workspace.look() == before and workspace.describe() == described
    assert workspace.read_at(snapshot.commit, "a") == "side\n"
    assert workspace.git("rev-parse", f"{snapshot.commit}^@").split() == [snapshot.head]


def test_conflicts_of_a_merge_are_named(workspace):
    workspace.commit(a="1\n")
    workspace.git("checkout", "-qb", "side")
    workspace.commit(a="side\n")
    workspace.git("checkout", "-q", "main")
    workspace.commit(a="main\n")
    subprocess.run(["git", "merge", "-q", "side"], cwd=workspace.root, capture_output=True, check=False)
    before = workspace.look()
    assert "a merge left conflicts in 'a';" in refuse()
    assert workspace.look() == before


def test_the_same_workspace_gives_the_same_commit_and_a_clean_one_head(dirty):
    first = take_snapshot(10)
    assert take_snapshot(10) == first
    dirty.write("both", "4\n")
    other = take_snapshot(10)
    assert other.commit != first.commit
    dirty.git("add", "-A")
    assert take_snapshot(10).commit == other.commit  # what is staged makes no difference
    dirty.git("commit", "-qm", "all of it")
    clean = take_snapshot(10)
    assert clean.commit == clean.head == dirty.git("rev-parse", "HEAD").strip()
    assert clean.files == () and clean.new_bytes == 0


def test_a_change_within_the_second_of_the_index_is_seen(workspace):
    """git believes size and time of a file only if the index is younger, so the copy must not be."""
    workspace.commit(a="1\n")
    workspace.git("config", "core.trustctime", "false")
    for text in ("2\n", "3\n"):
        os.utime(workspace.write("a", text), (1_000_000_000, 1_000_000_000))
        if text == "2\n":
            workspace.git("add", "a")
            os.utime(workspace.root / ".git/index", (1_000_000_000, 1_000_000_000))
    assert workspace.read_at(take_snapshot(10).commit, "a") == "3\n"


def test_it_works_from_a_folder_below_the_root(workspace, monkeypatch):
    workspace.commit(a="1\n")
    workspace.write("below/b", "1\n")
    workspace.write("c", "1\n")
    monkeypatch.chdir(workspace.root / "below")
    assert take_snapshot(10).files == ("below/b", "c")


def test_a_second_working_tree_has_its_own_snapshot(workspace, tmp_path, monkeypatch):
    workspace.commit(a="1\n")
    workspace.git("worktree", "add", "-q", str(tmp_path / "second"))
    workspace.write("here alone", "1\n")
    (tmp_path / "second/there alone").write_text("1\n")
    monkeypatch.chdir(tmp_path / "second")
    assert take_snapshot(10).files == ("there alone",)


def test_a_detached_head_is_a_baseline_like_any_other(workspace):
    workspace.commit(a="1\n")
    workspace.git("checkout", "-q", "--detach")
    workspace.write("b", "1\n")
    snapshot = take_snapshot(10)
    assert snapshot.head == workspace.git("rev-parse", "HEAD").strip() and snapshot.files == ("b",)


def test_without_a_commit_there_is_no_baseline(workspace):
    workspace.write("a", "1\n")
    assert "no commit yet" in refuse()


def test_outside_of_a_repository_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "no working tree of git" in refuse()


def test_a_secret_is_named_by_file_and_line_and_never_shown(workspace):
    workspace.commit(a="1\n")
    workspace.write("new.py", f"x = 1\ntoken = '{TOKEN}'\n")
    workspace.write("a", f"{OTHER_TOKEN}\n\n{TOKEN}\n")
    told = refuse()
    assert (
        "'a' has what looks like a secret in line 1 and 1 more, 'new.py' has what looks like a secret in line 2" in told
    )
    assert TOKEN not in told and OTHER_TOKEN not in told and "`allow` in remote.yaml" in told
    assert take_snapshot(10, ["new.py", "a"]).files == ("a", "new.py")


def test_a_secret_that_head_has_is_no_news_but_another_one_is(workspace):
    workspace.commit(a=f"{TOKEN}\n")
    workspace.write("a", f"\n{TOKEN}\n")
    assert take_snapshot(10).files == ("a",)
    workspace.write("a", f"\n{TOKEN}\n{OTHER_TOKEN}\n")
    assert "line 3" in refuse()


def test_binary_files_are_passed_over(workspace):
    workspace.commit(a="1\n")
    workspace.write("weights.bin", b"\0" + TOKEN.encode())
    assert take_snapshot(10).files == ("weights.bin",)


def test_a_secret_that_is_ignored_or_committed_stays_out_of_it(workspace):
    workspace.write(".env", "A=1\n")
    workspace.commit(**{".gitignore": "*.pem\n"})
    workspace.write("own.pem", TOKEN)
    workspace.write("b", "1\n")
    assert take_snapshot(10).files == ("b",)


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "conf/prod.env", "id_rsa", "ID_ED25519", "server.pem", "tls/server.key", ".netrc", ".npmrc",
     ".pypirc", "kubeconfig", "credentials.json", "service-account-7.json", ".kube/config", ".ssh/config",
     ".dvc/config.local"],
)  # fmt: skip
def test_a_name_that_says_secret_is_refused(workspace, name):
    workspace.commit(a="1\n")
    workspace.write(name, "1\n")
    assert f"'{name}' is named like a file of secrets" in refuse()


@pytest.mark.parametrize("name", ["id_rsa.pub", ".env.example", "keys.py", "environment.yml", "monkey", "config"])
def test_a_name_that_only_sounds_like_one_is_taken(workspace, name):
    workspace.commit(a="1\n")
    workspace.write(name, "1\n")
    assert take_snapshot(10).files == (name,)


def test_all_refused_files_are_in_one_sentence_and_many_are_counted(workspace):
    workspace.commit(a="1\n")
    for name in ("1.pem", "2.pem", "3.pem", "4.pem", "5.pem"):
        workspace.write(name, "1\n")
    told = refuse()
    assert "'1.pem'" in told and "'3.pem'" in told and "'4.pem'" not in told and "and 2 more" in told


def test_a_large_file_is_refused_before_git_stores_it(workspace):
    workspace.commit(a="1\n")
    workspace.write("big\n.bin", os.urandom(1_200_000))
    told = refuse(max_file_mb=1)
    assert r"'big\n.bin' has 1.2 MB" in told and "dvc add" in told and "`max_file_mb` in remote.yaml (it is 1)" in told
    stored = sum(path.stat().st_size for path in (workspace.root / ".git/objects").rglob("*") if path.is_file())
    assert stored < 100_000
    assert take_snapshot(1.3).new_bytes == 1_200_000


def test_a_large_file_that_is_staged_alone_is_refused(workspace):
    workspace.commit(a="1\n")
    workspace.write("big", os.urandom(1_200_000))
    workspace.git("add", "big")
    assert "'big' has 1.2 MB" in refuse(max_file_mb=1)


@pytest.mark.parametrize("allow", ["big", "folder/*", "folder", "*.bin"])
def test_a_glob_lets_a_file_pass(workspace, allow):
    workspace.commit(a="1\n")
    name = "big" if allow == "big" else "folder/b.bin"
    workspace.write(name, os.urandom(1_200_000))
    assert name in take_snapshot(1, [allow]).files
    assert "MB" in refuse(1, ("other", "fold"))


def test_a_repository_inside_is_refused_by_name(workspace):
    workspace.commit(a="1\n")
    inner = workspace.root / "libs/inner"
    inner.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=inner, check=True)
    (inner / "x").write_text("1\n")
    environment = ["-c", "user.name=x", "-c", "user.email=x@example.invalid"]
    subprocess.run(["git", *environment, "add", "x"], cwd=inner, check=True)
    subprocess.run(["git", *environment, "commit", "-qm", "x"], cwd=inner, check=True)
    assert "'libs/inner' is a git repository of its own" in refuse()
    assert take_snapshot(10, ["libs/inner"]).files == ("libs/inner",)
    workspace.git("add", "-A")
    workspace.git("commit", "-qm", "with a link to it")
    assert "'libs/inner' is a git repository of its own" in refuse()  # HEAD has it, the host would not


def test_what_dvc_would_unpickle_is_refused_whoever_allows_it(workspace):
    workspace.write(".dvc/tmp/repro.dat", "1")
    workspace.commit(a="1\n")
    assert "'.dvc/tmp/repro.dat' belongs to DVC's own scratch folder" in refuse(10, ("*", ".dvc/tmp/repro.dat"))


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_a_change_that_git_was_told_not_to_see_is_refused(workspace, mark):
    workspace.commit(a="1\n", b="1\n")
    workspace.git("update-index", mark, "a")
    assert take_snapshot(10).files == ()
    workspace.write("a", "2\n")
    before = workspace.look()
    assert "'a' has changes that git was told not to see" in refuse()
    assert workspace.look() == before
    assert take_snapshot(10, ["a"]).files == ()


def test_a_file_that_a_filter_replaces_is_refused(workspace):
    workspace.commit(a="1\n")
    workspace.git("config", "filter.large.clean", "sed s/./p/g")
    workspace.write(".gitattributes", "*.bin filter=large\n")
    workspace.write("a.bin", "1\n")
    assert "'a.bin' is kept by git's filter 'large'" in refuse()


def test_what_git_cannot_read_is_told(workspace):
    workspace.commit(a="1\n")
    (workspace.root / ".gitattributes").write_text("a filter=none\n")
    workspace.git("config", "filter.none.clean", "false")
    workspace.git("config", "filter.none.required", "true")
    workspace.write("a", "2\n")
    assert "failed: error: external filter 'false' failed" in refuse()
