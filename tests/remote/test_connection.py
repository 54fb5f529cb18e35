"""A connection that breaks, in every place: a sentence, no half of an object, nothing left running."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.remote.cluster import ROOT
from tests.remote.fake_jobs import add_job
from tunelock.remote.connection import Connection, connect
from tunelock.remote.host_models import LocalHost, SshHost
from tunelock.run.errors import Stop

SIZE = 20_000_000  # bytes of an object: more than the pipes hold
INTERRUPTED = """
import json, signal, sys
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may ignore it
from tests.remote.test_connection import make_host
from tunelock.remote.connection import connect
options, folder, verb, path, cache = json.loads(sys.argv[1])

def see(size):
    print("under way", flush=True)

try:
    with connect(make_host(options, folder), batch=True) as to_host:
        if verb == "put":
            while True:
                to_host.ask("put", send=[path], cache=Path(cache), seen=see)
        for piece in to_host.read_log("slow-1", True, None):
            see(piece)
except KeyboardInterrupt:
    sys.exit(130)
"""


def make_host(options: list[str], folder: str) -> SshHost:
    return SshHost(name="box", engine="ssh", address="box", ssh=tuple(options), python=sys.executable, folder=folder)


def wait_until(is_so) -> None:
    end = time.monotonic() + 30  # a busy machine
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def box(sshd, tmp_path) -> SshHost:
    """A host of the private sshd with a folder of its own."""
    return make_host(["-F", str(sshd.ssh_config)], f"~/{tmp_path.name}")


@pytest.fixture
def there(sshd, box) -> Path:
    """The folder of `box`."""
    return sshd.home / box.folder.removeprefix("~/")


@pytest.fixture
def sent(tmp_path) -> str:
    """The path below `tmp_path`, a cache, of an object."""
    return add_object(tmp_path, os.urandom(SIZE))


def add_object(cache: Path, content: bytes) -> str:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = cache / "files/md5" / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path.relative_to(cache).as_posix()


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _list_commands() -> list[str]:
    return subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()


def cut_once(sshd):
    """To be called with each piece: cuts all connections at the second."""
    pieces = []

    def see(size: int) -> None:
        pieces.append(size)
        if len(pieces) == 2:
            sshd.cut_connections()

    return see


def test_a_connection_lost_while_objects_are_sent_leaves_no_half_and_goes_on(sshd, box, there, sent, tmp_path):
    with connect(box, batch=True) as to_host:
        to_host.ask("prepare")
        with pytest.raises(Stop, match="box: the connection broke off; run the same command again"):
            to_host.ask("put", send=[sent], cache=tmp_path, seen=cut_once(sshd))
    wait_until(lambda: not sshd.left_running())
    assert list_files(there / "cache") == []
    with connect(box, batch=True) as to_host:
        to_host.ask("put", send=[sent], cache=tmp_path)
        assert to_host.ask("prepare", objects=[[sent, SIZE]])["missing"] == []
    assert (there / "cache" / sent).read_bytes() == (tmp_path / sent).read_bytes()


def test_a_connection_lost_while_objects_are_fetched_leaves_no_half_and_goes_on(sshd, box, there, sent, tmp_path):
    (there / "cache" / sent).parent.mkdir(parents=True)
    (tmp_path / sent).rename(there / "cache" / sent)
    with connect(box, batch=True) as to_host, pytest.raises(Stop, match="the connection broke off while objects were"):
        to_host.fetch([sent], tmp_path, cut_once(sshd))
    assert list_files(tmp_path) == []
    with connect(box, batch=True) as to_host:
        assert to_host.fetch([sent], tmp_path, lambda size: None) == SIZE
    wait_until(lambda: not sshd.left_running())


def test_a_connection_lost_while_a_log_is_followed_says_that_the_job_goes_on(sshd, box, there):
    add_job(there, "slow-1", log="first line\n")
    with connect(box, batch=True) as to_host:
        log = to_host.read_log("slow-1", True, None)
        assert next(log) == b"first line\n"
        sshd.cut_connections()
        with pytest.raises(Stop, match="the connection broke off; the job goes on, and `tunelock remote logs -f`"):
            next(log)
    wait_until(lambda: not sshd.left_running())


@pytest.mark.parametrize("verb", ["put", "logs"])
def test_an_interrupt_leaves_nothing_running_on_either_side(sshd, box, there, sent, tmp_path, verb):
    def ours() -> list[str]:  # our connections, the shared one too, which is no child of ours
        return [line for line in _list_commands() if short in line]

    add_job(there, "slow-1", log="first line\n")
    short = tempfile.mkdtemp(prefix="x y")  # paths of sockets may not be long
    words = json.dumps([list(box.ssh), box.folder, verb, sent, str(tmp_path)])
    command = [sys.executable, "-c", INTERRUPTED, words]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": short}, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout.readline() == b"under way\n"
    assert len(ours()) >= 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=10)
    assert process.returncode == 130
    wait_until(lambda: not sshd.left_running())
    wait_until(lambda: not ours())
    assert list(Path(short).iterdir()) == []
    assert not (there / "cache/incoming").exists() or list_files(there / "cache/incoming") == []


def test_damaged_bytes_at_home_are_refused_there(box, there, sent, tmp_path):
    with open(tmp_path / sent, "r+b") as file:
        file.write(b"other")
    with (
        connect(box, batch=True) as to_host,
        pytest.raises(Stop, match=f"{sent} is damaged in the cache that sends it"),
    ):
        to_host.ask("put", send=[sent], cache=tmp_path)
    assert list_files(there / "cache") == []


def test_damaged_bytes_there_are_refused_at_home(box, there, tmp_path):
    sent = add_object(there / "cache", b"bytes")
    (there / "cache" / sent).write_bytes(b"other")
    with (
        connect(box, batch=True) as to_host,
        pytest.raises(Stop, match=f"box: {sent} is damaged in the cache that sends"),
    ):
        to_host.fetch([sent], tmp_path, lambda size: None)
    assert list_files(tmp_path) == []


def test_an_object_that_went_away_there_is_named(box, there, sent, tmp_path):
    with connect(box, batch=True) as to_host, pytest.raises(Stop, match=f"cache/{sent} there: No such file"):
        to_host.fetch([sent], tmp_path, lambda size: None)


def test_a_disk_that_becomes_full_keeps_no_half(sshd, box, there, sent, tmp_path):
    options = sshd.add_login("little", 'ulimit -f 2000; exec sh -c "$SSH_ORIGINAL_COMMAND"')  # 1 MB a file
    small = make_host(options, box.folder)
    with connect(small, batch=True) as to_host:
        with pytest.raises(Stop, match=r"box: a file may not become so large there.* and nothing half was kept"):
            to_host.ask("put", send=[sent], cache=tmp_path)
    assert list_files(there / "cache") == []


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a disk")
def test_a_disk_without_room_is_named_and_keeps_no_half(box, there, sent, tmp_path):
    there.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", there], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no mounts are allowed here")
    try:
        with connect(box, batch=True) as to_host:
            assert to_host.ask("prepare", objects=[[sent, SIZE]])["free"] < 2 << 20
            with pytest.raises(Stop, match=r"the disk there is full .*; free some, or set another `folder` of box"):
                to_host.ask("put", send=[sent], cache=tmp_path)
        assert list_files(there / "cache") == []
    finally:
        subprocess.run(["umount", "--lazy", there], check=True)


def test_the_same_object_from_two_sides_at_once_is_no_matter(box, there, sent, tmp_path):
    def send() -> None:
        with connect(box, batch=True) as to_host:
            to_host.ask("prepare")
            to_host.ask("put", send=[sent], cache=tmp_path)
            done.append(1)

    done: list[int] = []
    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3
    assert list_files(there / "cache") == [sent]
    assert len(list_files(there / "code")) == 1


def test_a_folder_that_was_removed_between_two_requests_is_told(box, there):
    with connect(box, batch=True) as to_host:
        repository = to_host.name_repository(to_host.ask("prepare")["root"])
        subprocess.run(["rm", "-rf", there], check=True)
        with pytest.raises(Stop, match=r"its folder ~/test_.* was removed meanwhile; run the same command again"):
            to_host.call_git("send the workspace", "push", "--quiet", repository, "HEAD:refs/tunelock/jobs/x")


def test_a_submission_that_breaks_off_leaves_no_snapshot_behind(box, there):
    def refs() -> list[str]:
        return [path.name for path in (there / "repo.git/refs/tunelock/jobs").glob("*")]

    with connect(box, batch=True) as to_host:
        repository = to_host.name_repository(to_host.ask("prepare")["root"])
        names = ["told-1", "forgotten-1", "fresh-1"]
        to_host.call_git("send", "push", "--quiet", repository, *[f"HEAD:refs/tunelock/jobs/{name}" for name in names])
        to_host.ask("abandon", jobs=["told-1"])
        assert sorted(refs()) == ["forgotten-1", "fresh-1"]
        two_hours_ago = time.time() - 7200
        os.utime(there / "repo.git/refs/tunelock/jobs/forgotten-1", (two_hours_ago, two_hours_ago))
        to_host.ask("prepare")
        assert refs() == ["fresh-1"]


def test_halves_of_yesterday_are_swept(box, there, tmp_path):
    sent, half = add_object(tmp_path, b"bytes"), there / "cache/incoming"
    half.mkdir(parents=True)
    for name in ("old", "new"):
        (half / name).write_bytes(b"half")
    os.utime(half / "old", (1, 1))
    with connect(box, batch=True) as to_host:
        to_host.ask("put", send=[sent], cache=tmp_path)
    assert list_files(there / "cache") == [sent, "incoming/new"]


def test_a_long_name_of_the_temporary_folder_is_no_matter(box, tmp_path, monkeypatch):
    folder = tmp_path / ("long " * 20)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with connect(box, batch=True) as to_host:
        assert to_host.ask("prepare")["missing"] == []


def test_this_machine_is_asked_without_ssh(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    host = LocalHost(name="here", engine="local", folder=str(tmp_path / "a b"))
    with connect(host) as to_host:
        told = to_host.ask("prepare")
    assert told["root"] == str(tmp_path / "a b") and to_host.name_repository(told["root"]).startswith("/")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("box", "box:/a b/repo.git"),
        ("me@10.0.0.7", "me@10.0.0.7:/a b/repo.git"),
        ("me@::1", "me@[::1]:/a b/repo.git"),
        ("ssh://me@box:2222/", "ssh://me@box:2222/a b/repo.git"),
    ],
)
def test_git_is_told_the_address_in_its_own_form(address, url):
    host = SshHost(name="box", engine="ssh", address=address)
    assert Connection(host, []).name_repository("/a b") == url
