"""What a command that fails says is wrong reaches the user, and a merge that was left halfway is named first."""

import subprocess
from pathlib import Path

import pytest

from tests.command_line import run_tunelock, unwrapped
from tunelock.pull_request.lock import list_stale
from tunelock.run.errors import Stop
from tunelock.run.revisions import run_dvc_json, run_git

CONFLICT = "stages:\n<<<<<<< HEAD\n  a: 1\n=======\n  a: 2\n>>>>>>> other\n"


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("")
    Path("params.yaml").write_text("gate: {}\nconfidence_level: 0.95\nbootstrap_samples: 200\n")


@pytest.mark.parametrize("file", ["dvc.lock", "dvc.yaml", "params.yaml"])
def test_a_merge_that_was_left_halfway_is_named_with_its_line_and_what_to_do(file):
    Path(file).write_text(CONFLICT)
    with pytest.raises(Stop, match=rf"^{file}:2: a merge left its markers here; settle them .* `dvc repro`"):
        run_dvc_json("status")


def test_what_reads_the_lock_says_so_too():
    Path("dvc.lock").write_text(CONFLICT)
    done = run_tunelock("seeds")
    assert done.exit_code and "dvc.lock:2: a merge left its markers" in unwrapped(done.stderr)
    with pytest.raises(Stop, match=r"dvc.lock:2: a merge left its markers"):
        list_stale()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("stages:\n  a: {cmmd: b}\n", "extra keys not allowed, in stages -> a -> cmmd, line 2"),
        ("stages: [\n", "'./dvc.yaml' is invalid. While parsing"),
    ],
)
def test_the_line_that_says_what_is_wrong_is_shown_and_not_the_last_one(content, words):
    Path("dvc.yaml").write_text(content)
    with pytest.raises(Stop, match=r"`-m dvc status --json` failed: '.*dvc.yaml' ") as stop:
        run_dvc_json("status")
    assert words in str(stop.value) and "│" not in str(stop.value)


def test_errors_of_git_and_dvc_are_shown_without_their_mark():
    with pytest.raises(Stop, match=r"failed: invalid object name"):
        run_git("cat-file", "-p", "nowhere:a")
    Path(".dvc").rename("away")
    with pytest.raises(Stop, match=r"failed: you are not inside of a DVC repository"):
        run_dvc_json("status")
