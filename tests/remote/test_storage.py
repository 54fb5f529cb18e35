"""Objects by a bucket or a shared folder: the bytes come back, nothing is sent twice, what is wrong is a sentence."""

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.remote.conftest import AWS_KEYS
from tests.remote.toy import run
from tests.walls import ROOT
from tunelock.remote.storage import fetch_objects, push_objects
from tunelock.remote.there import stored_objects, stores
from tunelock.remote.there.stored_objects import Moved
from tunelock.run.errors import Stop

RUN = f"runs/{'a' * 2}/{'a' * 64}/{'b' * 64}"


@pytest.fixture(params=["bucket", "folder"])
def url(request, tmp_path):
    """A bucket's address, or an empty folder."""
    if request.param == "bucket":
        request.getfixturevalue("aws")
        return "s3://data/some path"
    folder = tmp_path / "a shared folder"
    folder.mkdir()
    return str(folder)


def write_object(cache: Path, content: bytes, end: str = "") -> tuple[str, int]:
    digest = hashlib.md5(content).hexdigest()
    return write_file(cache, f"files/md5/{digest[:2]}/{digest[2:]}{end}", content)


def write_file(cache: Path, path: str, content: bytes) -> tuple[str, int]:
    (cache / path).parent.mkdir(parents=True, exist_ok=True)
    (cache / path).write_bytes(content)
    return path, len(content)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "the cache"


@pytest.fixture
def objects(cache):
    """Two files, a folder's list, an entry of the run cache, and an empty file."""
    files = [write_object(cache, content) for content in (b"weights" * 200_000, b"rows", b"")]
    return [write_file(cache, RUN, b"outs: []\n"), write_object(cache, b"[]", ".dir"), *files]


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_pushed_comes_back_into_an_empty_cache(url, cache, objects, tmp_path):
    size, seen = sum(size for _, size in objects), []
    assert push_objects(url, objects, cache, seen.append) == Moved(5, size, 0)
    assert sum(seen) == size
    fetched = tmp_path / "another cache"
    seen.clear()
    assert fetch_objects(url, objects, fetched, seen.append) == Moved(5, size, 0)
    assert sum(seen) == size
    assert read_tree(fetched) == read_tree(cache)
    assert {path.stat().st_mode & 0o777 for path in fetched.rglob("*") if path.is_file()} == {0o444}


def test_a_second_time_nothing_moves_and_a_new_object_moves_alone(url, cache, objects, tmp_path):
    push_objects(url, objects, cache)
    size = sum(size for _, size in objects)
    assert push_objects(url, objects, cache) == Moved(0, 0, size)
    new = write_object(cache, b"new")
    assert push_objects(url, [*objects, new], cache) == Moved(1, 3, size)
    fetched = tmp_path / "another cache"
    fetch_objects(url, objects, fetched)
    assert fetch_objects(url, [*objects, new], fetched) == Moved(1, 3, size)


def test_half_an_object_in_the_cache_is_fetched_anew(url, cache, objects, tmp_path):
    push_objects(url, objects, cache)
    fetched = tmp_path / "another cache"
    path, size = objects[2]
    write_file(fetched, path, b"weig")
    assert fetch_objects(url, [(path, size)], fetched) == Moved(1, size, 0)
    assert (fetched / path).read_bytes() == (cache / path).read_bytes()


def test_other_bytes_than_the_name_says_are_refused_and_not_kept(url, cache, objects, tmp_path):
    path, size = write_object(cache, b"true")
    (cache / path).write_bytes(b"fals")
    push_objects(url, [(path, size)], cache)
    fetched = tmp_path / "another cache"
    with pytest.raises(Stop, match="has other bytes than its name says"):
        fetch_objects(url, [(path, size)], fetched)
    assert read_tree(fetched) == {}


def test_what_describes_others_is_sent_last(tmp_path, cache, objects, monkeypatch):
    sent = []
    monkeypatch.setattr(stored_objects, "_AT_ONCE", 1)
    monkeypatch.setattr(stores._Folder, "put", lambda self, paths, cache, seen: sent.extend(paths))
    push_objects(str(tmp_path), objects, cache)
    assert [path.partition("/")[0] for path in sent] == ["files"] * 4 + ["runs"]
    assert [path.endswith(".dir") for path in sent[:4]] == [False, False, False, True]


def test_an_object_that_the_storage_lacks_is_named(url, cache, objects, tmp_path):
    push_objects(url, objects[1:], cache)
    with pytest.raises(Stop) as stop:
        fetch_objects(url, objects, tmp_path / "another cache")
    assert str(stop.value) == f"{url} lacks 1 of 5 objects, such as {RUN}; send them again."


def test_an_object_that_the_cache_lacks_is_named(url, cache):
    with pytest.raises(Stop, match=r"files/md5/ab/cdef is missing, which is to go to the storage"):
        push_objects(url, [("files/md5/ab/cdef", 3)], cache)


def test_a_bucket_that_is_not_there_is_a_sentence(aws, cache, objects, tmp_path):
    for move, folder in ((push_objects, cache), (fetch_objects, tmp_path / "empty")):
        with pytest.raises(Stop, match=r"^s3://nowhere/x: there is no bucket 'nowhere'; make it .*`storage`"):
            move("s3://nowhere/x", objects, folder)


def test_no_credentials_are_a_sentence(aws, cache, objects, monkeypatch):
    for name in AWS_KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(
        Stop, match=r"^s3://data/x: Unable to locate credentials here; `aws configure`, or set AWS_PROF"
    ):
        push_objects("s3://data/x", objects, cache)


def test_a_profile_that_is_not_there_is_a_sentence(aws, cache, objects, monkeypatch):
    for name in AWS_KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "work")
    with pytest.raises(Stop, match=r"^s3://data/x: The config profile \(work\) could not be found here"):
        push_objects("s3://data/x", objects, cache)


def test_a_server_that_does_not_answer_is_a_sentence(aws, cache, objects, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Stop, match=r"^s3://data/x: S3 could not be used .*127.0.0.1:9.*; look at AWS_ENDPOINT_URL"):
        push_objects("s3://data/x", objects, cache)


def test_a_folder_that_is_not_there_or_not_ours_is_a_sentence(tmp_path, cache, objects):
    with pytest.raises(Stop, match="there is no such folder here; mount it"):
        push_objects(str(tmp_path / "nowhere"), objects, cache)
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(Stop, match=r"(Not a directory|File exists); mend that, or set another `storage`"):
        push_objects(str(tmp_path), objects, cache)


def test_a_full_disk_is_told_as_such(aws, cache, objects, tmp_path, monkeypatch):
    push_objects("s3://data/x", objects, cache)

    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "file"))

    monkeypatch.setattr(stores._Bucket, "get", fill)
    with pytest.raises(Stop, match=rf"^{tmp_path}/file: No space left on device; free some room.$"):
        fetch_objects("s3://data/x", objects, tmp_path / "another cache")


def test_without_dvc_s3_a_sentence_says_what_to_install(aws, cache, objects, monkeypatch):
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    with pytest.raises(Stop, match="dvc-s3 is not installed here; install the extra `s3` of"):
        push_objects("s3://data/x", objects, cache)


def test_dvc_itself_finds_what_was_pushed(aws, cache, objects, tmp_path, monkeypatch):
    """The layout is that of a DVC remote, so a team's `dvc pull` may read the same bucket."""
    data = write_object(cache, b"rows of data")
    push_objects("s3://data/team", [data], cache)
    monkeypatch.chdir(tmp_path)
    digest = data[0].removeprefix("files/md5/").replace("/", "")
    Path("rows.dvc").write_text(f"outs:\n- {{md5: {digest}, size: 12, hash: md5, path: rows}}\n", encoding="utf-8")
    for words in ("init --no-scm", "remote add --default team s3://data/team", "pull"):
        run(["dvc", *words.split(), "--quiet"], tmp_path)
    assert Path("rows").read_bytes() == b"rows of data"


def test_on_the_host_it_is_a_program_of_its_own(tmp_path, cache, objects):
    folder = tmp_path / "a shared folder"
    folder.mkdir()
    for verb, there in (("push", cache), ("fetch", tmp_path / "another cache")):
        done = run_there(verb, str(folder), str(there), json.dumps(objects))
        assert json.loads(done.stdout) == {"objects": 5, "size": sum(size for _, size in objects), "there_already": 0}
    refused = run_there("push", "/nowhere", str(cache), "[]")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def run_there(verb: str, url: str, cache: str, stdin: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunelock.remote.there.stored_objects", verb, url, cache]
    return subprocess.run(command, input=stdin, cwd=ROOT, text=True, capture_output=True, check=False)
