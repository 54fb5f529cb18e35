"""Checkpoints: whole or absent, those of one run, and the one that a run goes on from."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunelock.run.scratch import locate_checkpoints
from tunelock.training.checkpoints import (
    MANIFEST,
    find_latest_whole,
    is_whole,
    list_checkpoints,
    prune_checkpoints,
    remove_checkpoint,
    write_checkpoint,
)

ROOT = Path(__file__).parents[2]
RUN = Path("run")


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def killed(code: str) -> None:
    """Run Python code that kills itself as `kill -9` does."""
    code = f"import os\nfrom pathlib import Path\nfrom tunelock.training.checkpoints import *\n{code}"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL


def save(step: int, mtime: int = 1, needs=(), run: Path = RUN) -> Path:
    """A whole checkpoint of two files, of which one is in a subfolder."""
    with write_checkpoint(run, step, needs) as folder:
        (folder / "weights").write_text(f"weights {step}")
        (folder / "state").mkdir()
        (folder / "state/rng").write_text("rng")
    path = run / f"checkpoint-{step}"
    os.utime(path, (mtime, mtime))
    return path


def test_no_checkpoint_is_no_fault():
    assert find_latest_whole(RUN) is None


def test_the_latest_checkpoint_is_that_of_the_highest_step_not_of_the_latest_time():
    for step, mtime in (100, 1), (20, 3), (3, 2):
        save(step, mtime)
    assert list(list_checkpoints(RUN)) == [3, 20, 100]
    assert find_latest_whole(RUN) == RUN / "checkpoint-100"


def test_a_checkpoint_that_is_killed_while_it_is_written_is_not_used():
    save(1)
    killed(
        "with write_checkpoint(Path('run'), 2) as folder:\n"
        "    (folder / 'weights').write_text('half')\n    os.kill(os.getpid(), 9)"
    )
    assert list(list_checkpoints(RUN)) == [1]
    assert find_latest_whole(RUN) == RUN / "checkpoint-1"
    save(2)
    assert {path.name for path in RUN.iterdir()} == {"checkpoint-1", "checkpoint-2"}
    assert find_latest_whole(RUN) == RUN / "checkpoint-2"


def test_a_checkpoint_that_fails_while_it_is_written_is_absent():
    with pytest.raises(OSError, match="No space left"), write_checkpoint(RUN, 1) as folder:
        (folder / "weights").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(RUN.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "weights").write_text("weights 3"),
        lambda path: (path / "weights").write_text(""),
        lambda path: (path / "weights").unlink(),
        lambda path: (path / "state/rng").rename(path / "rng"),
        lambda path: (path / "more").touch(),
        lambda path: (path / MANIFEST).unlink(),
        lambda path: (path / MANIFEST).write_text('{"weights": '),
        lambda path: (path / MANIFEST).write_text(""),
        lambda path: (path / MANIFEST).write_bytes(b"\xff"),
        lambda path: (path / MANIFEST).write_text("{}"),
        lambda path: (path / MANIFEST).write_text("[]"),
        lambda path: edit_manifest(path, '"needs"', '"neads"'),
        lambda path: edit_manifest(path, '"step": 2', '"step": 3'),
    ],
    ids=[
        "another content", "emptied", "file lost", "file moved", "file added", "manifest lost", "manifest cut",
        "manifest emptied", "manifest is bytes", "manifest says nothing", "manifest is a list",
        "a key of the manifest flipped", "a number of the manifest flipped",
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(damage, capsys):
    good, bad = save(1), save(2)
    damage(bad)
    assert find_latest_whole(RUN) == good
    assert f"{bad}, or the best one before it, does not match its manifest" in capsys.readouterr().err
    assert not bad.exists()


def edit_manifest(path: Path, old: str, new: str) -> None:
    text = (path / MANIFEST).read_text()
    assert old in text
    (path / MANIFEST).write_text(text.replace(old, new))


def test_every_flipped_bit_of_a_checkpoint_is_found():
    """Wherever it is, the manifest included; white space of the manifest is no content."""
    path = save(2)
    for file in filter(Path.is_file, path.rglob("*")):
        before = file.read_bytes()
        for place in range(0, len(before), 3):
            changed = bytearray(before)
            changed[place] ^= 1 << place % 8
            file.write_bytes(changed)
            assert not is_whole(path) or (file.name == MANIFEST and json.loads(changed) == json.loads(before))
        file.write_bytes(before)
    assert is_whole(path)


def flip(path: Path) -> None:
    (path / "weights").write_text("flipped")


@pytest.mark.parametrize("damage", [flip, remove_checkpoint], ids=["damaged", "lost"])
def test_a_checkpoint_whose_best_one_is_of_no_use_is_not_used(damage):
    first, best = save(1), save(2)
    last = save(3, needs=[2])
    assert find_latest_whole(RUN) == last
    damage(best)
    assert find_latest_whole(RUN) == first
    assert not last.exists()


@pytest.mark.parametrize("place", ["run/checkpoint-9", "other/checkpoint-3"], ids=["another step", "another run"])
def test_a_checkpoint_in_the_place_of_another_is_not_used(place):
    shutil.copytree(save(3), place)
    assert is_whole(RUN / "checkpoint-3") and not is_whole(Path(place))
    assert find_latest_whole(Path("other")) is None


@pytest.mark.parametrize("name", ["checkpoint-2.partial", "checkpoint-best", "checkpoint-2b1", "checkpoint-²", "x"])
def test_what_is_no_checkpoint_is_passed_over(name):
    (RUN / name).mkdir(parents=True)
    assert list_checkpoints(RUN) == {} and find_latest_whole(RUN) is None


def test_a_kill_while_a_checkpoint_is_removed_leaves_no_half_of_it():
    save(1), save(2)
    killed(
        "import shutil\nshutil.rmtree = lambda path, **_: os.path.exists(path) and os.kill(os.getpid(), 9)\n"
        "prune_checkpoints(Path('run'), [2])"
    )
    assert list(list_checkpoints(RUN)) == [2] and find_latest_whole(RUN) == RUN / "checkpoint-2"
    save(1)
    prune_checkpoints(RUN, [2])
    assert [path.name for path in RUN.iterdir()] == ["checkpoint-2"]


def test_damage_everywhere_means_a_fresh_start():
    for step in 1, 2:
        (save(step) / "weights").write_text("x")
    assert find_latest_whole(RUN) is None


def test_a_checkpoint_of_a_step_done_again_replaces_the_old_one():
    (save(1) / "weights").write_text("x")
    assert is_whole(save(1))


def test_the_manifest_says_whose_the_checkpoint_is_and_what_was_written():
    said = json.loads((save(3, needs=[2, 2]) / MANIFEST).read_text())
    assert (said["run"], said["step"], said["needs"]) == ("run", 3, [2])
    assert said["files"].keys() == {"weights", "state/rng"}


@pytest.mark.parametrize("keep", [[2, 3], (step for step in (2, 3))], ids=["list", "generator"])
def test_pruning_keeps_what_is_asked_for(keep):
    for step in 1, 2, 3, 10:
        save(step)
    prune_checkpoints(RUN, keep)
    assert list(list_checkpoints(RUN)) == [2, 3]


def test_checkpoints_live_apart_by_run_and_in_the_main_clone_of_an_experiment(monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert locate_checkpoints("train", "key") == Path(".ckpt/train/key")
    assert locate_checkpoints("train", "key") != locate_checkpoints("train", "other")
    monkeypatch.setenv("DVC_ROOT", "/main")
    assert locate_checkpoints("train", "key") == Path("/main/.ckpt/train/key")
