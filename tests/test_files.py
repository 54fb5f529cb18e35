"""Files, hashes and checkpoints: whole or absent, the same bytes for the same content."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib import files
from stages.lib.checkpoints import MANIFEST, checkpoint_root, checkpoints, is_whole, latest_whole, new_checkpoint, prune
from stages.lib.errors import Stop
from stages.lib.files import read_json, read_jsonl, whole_file, whole_folder, write_json, write_jsonl, write_text
from stages.lib.hashing import file_hashes, sha256_file, sha256_path, sha256_value

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def names() -> set[str]:
    """Everything that lies in the folder of the test."""
    return {path.as_posix() for path in Path().rglob("*")}


def killed(code: str) -> None:
    """Run Python code that kills itself as `kill -9` does."""
    code = f"import os\nfrom stages.lib.checkpoints import *\nfrom stages.lib.files import *\n{code}"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL


def test_json_is_the_same_bytes_whatever_the_order_of_the_keys():
    write_json("deep/a.json", {"b": 1, "a": "é"})
    write_json("b.json", {"a": "é", "b": 1})
    assert Path("deep/a.json").read_bytes() == Path("b.json").read_bytes() == '{\n  "a": "é",\n  "b": 1\n}\n'.encode()
    assert read_json("b.json") == {"a": "é", "b": 1}


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb\rc", "a\u2028b\u2029c\x85", "😀", '"\\', "\x00\ufeff", "half \ud83d"])
def test_a_text_comes_back_from_json_lines_as_it_was(text):
    rows = [{"text": text}, {"text": "next"}]
    write_jsonl("a.jsonl", rows)
    assert list(read_jsonl("a.jsonl")) == rows
    assert Path("a.jsonl").read_bytes().count(b"\n") == 2


def test_text_keeps_its_newlines():
    write_text("a.txt", "a\r\nb\n")
    assert Path("a.txt").read_bytes() == b"a\r\nb\n"


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("write", [write_json, lambda path, value: write_jsonl(path, [{}, value])])
def test_what_is_no_json_is_not_written_and_the_old_file_stays(write, value):
    write_text("a", "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write("a", {"loss": value})
    assert Path("a").read_text() == "old"
    assert names() == {"a"}


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (read_json, b'{\n"a": }', "a:2: not JSON"),
        (read_json, b"", "a:1: not JSON"),
        (read_json, b"\xff", "a"),
        (lambda path: list(read_jsonl(path)), b'{}\n{"a": \n', "a:2: not JSON"),
        (lambda path: list(read_jsonl(path)), b"{}\n\n", "a:2: not JSON"),
    ],
    ids=["broken", "empty", "not UTF-8", "cut line", "blank line"],
)
def test_a_damaged_file_stops_with_its_line(read, content, words):
    Path("a").write_bytes(content)
    with pytest.raises(Stop, match=words):
        read("a")


def test_a_missing_file_is_named():
    with pytest.raises(Stop, match="a is missing; run `dvc repro`"):
        read_json("a")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_file_whose_writing_fails_is_absent_or_as_before(error):
    for before in None, b"old":
        if before:
            Path("a").write_bytes(before)
        with pytest.raises(error), whole_file("a") as out:
            out.write(b"half")
            raise error
        assert names() == ({"a"} if before else set())
    assert Path("a").read_bytes() == b"old"


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_no_half_file_or_folder(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text("a", "text")
    with pytest.raises(OSError, match="No space left"), whole_folder("b") as folder:
        (folder / "x").write_text("x")
    assert names() == set()


def test_a_killed_write_leaves_the_old_file_and_the_next_write_is_whole():
    write_text("a", "old")
    killed("with whole_file('a') as out:\n    out.write(b'half')\n    out.flush()\n    os.kill(os.getpid(), 9)")
    assert Path("a").read_text() == "old"
    write_text("a", "new")
    assert (names(), Path("a").read_text()) == ({"a"}, "new")


def test_a_folder_is_replaced_as_a_whole():
    for name in "old", "new":
        with whole_folder("deep/a") as folder:
            (folder / name).write_text(name)
    assert names() == {"deep", "deep/a", "deep/a/new"}


def test_a_folder_whose_writing_fails_is_absent_or_as_before():
    with pytest.raises(ValueError), whole_folder("a") as folder:
        (folder / "half").write_text("x")
        raise ValueError
    assert names() == set()
    with whole_folder("a") as folder:
        (folder / "old").write_text("x")
    with pytest.raises(ValueError), whole_folder("a"):
        raise ValueError
    assert names() == {"a", "a/old"}


def test_what_a_killed_run_left_does_not_enter_the_next_folder():
    killed("with whole_folder('a') as folder:\n    (folder / 'half').touch()\n    os.kill(os.getpid(), 9)")
    assert not Path("a").exists()
    with whole_folder("a") as folder:
        (folder / "new").write_text("x")
    assert names() == {"a", "a/new"}


def test_a_file_hash_is_the_standard_sha256():
    Path("a").write_bytes(b"abc")
    assert sha256_file("a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == sha256_path("a")


def test_a_value_hash_does_not_depend_on_the_order_of_keys_but_on_types():
    assert sha256_value({"a": 1, "b": 2}) == sha256_value({"b": 2, "a": 1})
    assert len({sha256_value(value) for value in (1, 1.0, "1", True, None, [1])}) == 6


def small_folder() -> Path:
    folder = Path("folder")
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "deep/b").write_text("b")
    return folder


def test_file_hashes_are_keyed_by_relative_posix_path():
    assert file_hashes(small_folder()) == {"a": sha256_file("folder/a"), "deep/b": sha256_file("folder/deep/b")}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a").write_text("b"),
        lambda folder: (folder / "a").rename(folder / "c"),
        lambda folder: (folder / "a").rename(folder / "deep/a"),
        lambda folder: (folder / "a").unlink(),
        lambda folder: (folder / "c").touch(),
    ],
    ids=["content", "name", "place", "one less", "one more"],
)
def test_a_folder_hash_changes_with_any_file(change):
    folder = small_folder()
    before = sha256_path(folder)
    change(folder)
    assert sha256_path(folder) != before


def test_a_folder_hash_does_not_depend_on_time_or_bytecode():
    folder = small_folder()
    before = sha256_path(folder)
    os.utime(folder / "a", (1, 1))
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_text("x")
    assert sha256_path(folder) == before


RUN = Path("run")


def save(step: int, mtime: int = 1) -> Path:
    """A whole checkpoint of two files, of which one is in a subfolder."""
    with new_checkpoint(RUN, step) as folder:
        (folder / "weights").write_text(f"weights {step}")
        (folder / "state").mkdir()
        (folder / "state/rng").write_text("rng")
    path = RUN / f"checkpoint-{step}"
    os.utime(path, (mtime, mtime))
    return path


def test_no_checkpoint_is_no_fault():
    assert latest_whole(RUN) is None


def test_the_latest_checkpoint_is_that_of_the_highest_step_not_of_the_latest_time():
    for step, mtime in (100, 1), (20, 3), (3, 2):
        save(step, mtime)
    assert list(checkpoints(RUN)) == [3, 20, 100]
    assert latest_whole(RUN) == RUN / "checkpoint-100"


def test_a_checkpoint_that_is_killed_while_it_is_written_is_not_used():
    save(1)
    killed(
        "with new_checkpoint(Path('run'), 2) as folder:\n"
        "    (folder / 'weights').write_text('half')\n    os.kill(os.getpid(), 9)"
    )
    assert list(checkpoints(RUN)) == [1]
    assert latest_whole(RUN) == RUN / "checkpoint-1"
    save(2)
    assert {path.name for path in RUN.iterdir()} == {"checkpoint-1", "checkpoint-2"}
    assert latest_whole(RUN) == RUN / "checkpoint-2"


def test_a_checkpoint_that_fails_while_it_is_written_is_absent():
    with pytest.raises(OSError, match="No space left"), new_checkpoint(RUN, 1) as folder:
        (folder / "weights").write_text("half")
        full_disk()
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
    ],
    ids=[
        "another content", "emptied", "file lost", "file moved", "file added", "manifest lost", "manifest cut",
        "manifest emptied", "manifest is bytes", "manifest lists nothing",
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(damage, capsys):
    good, bad = save(1), save(2)
    damage(bad)
    assert latest_whole(RUN) == good
    assert f"{bad} does not match its manifest" in capsys.readouterr().err
    assert not bad.exists()


def test_damage_everywhere_means_a_fresh_start():
    for step in 1, 2:
        (save(step) / "weights").write_text("x")
    assert latest_whole(RUN) is None


def test_a_checkpoint_of_a_step_done_again_replaces_the_old_one():
    (save(1) / "weights").write_text("x")
    assert is_whole(save(1))


def test_the_manifest_lists_the_files_that_were_written():
    path = save(1)
    assert json.loads((path / MANIFEST).read_text()).keys() == {"weights", "state/rng"}


@pytest.mark.parametrize("keep", [[2, 3], (step for step in (2, 3))], ids=["list", "generator"])
def test_pruning_keeps_what_is_asked_for(keep):
    for step in 1, 2, 3, 10:
        save(step)
    prune(RUN, keep)
    assert list(checkpoints(RUN)) == [2, 3]


def test_checkpoints_live_apart_by_run_and_in_the_main_clone_of_an_experiment(monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert checkpoint_root("train", "key") == Path(".ckpt/train/key")
    assert checkpoint_root("train", "key") != checkpoint_root("train", "other")
    monkeypatch.setenv("DVC_ROOT", "/main")
    assert checkpoint_root("train", "key") == Path("/main/.ckpt/train/key")
