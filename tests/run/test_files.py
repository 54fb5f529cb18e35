"""Files and hashes: whole or absent, the same bytes for the same content."""

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunelock.run import files
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, read_jsonl, whole_file, whole_folder, write_json, write_jsonl, write_text
from tunelock.run.hashing import hash_files, sha256_file, sha256_path, sha256_value

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def names() -> set[str]:
    """Everything that lies in the folder of the test."""
    return {path.as_posix() for path in Path().rglob("*")}


def killed(code: str) -> None:
    """Run Python code that kills itself as `kill -9` does."""
    code = f"import os\nfrom tunelock.run.files import *\n{code}"
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


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_each_file_of_a_folder_is_as_readable_as_the_umask_says(umask, mode):
    before = os.umask(umask)
    try:
        with whole_folder("a") as folder:
            (folder / "deep").mkdir()
            for name in "weights", "deep/weights":
                (folder / name).touch(mode=0o600)  # as safetensors writes
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in Path("a").rglob("weights")} == {mode}


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
    assert hash_files(small_folder()) == {"a": sha256_file("folder/a"), "deep/b": sha256_file("folder/deep/b")}


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
