"""Wheels, URLs and hub datasets: the pinned bytes or none, and nothing left behind by a fault."""

import errno
import gzip
import hashlib
import http.server
import importlib.util
import shutil
import socket
import sys
import threading
import zipfile
from pathlib import Path

import huggingface_hub.errors as hub
import pytest

from tunelock.fetching import fetch, web
from tunelock.fetching.archives import open_member
from tunelock.run.errors import Stop

MEMBER = "tinywheel/data.txt"
METADATA = "Metadata-Version: 2.1\nName: tinywheel\nVersion: 1.0\n"
CODE = "raise SystemExit('this must never be imported')"


def build_wheel(folder: Path, members: dict[str, str]) -> Path:
    """A wheel that pip takes: tinywheel 1.0 with these members, and a dependency that is nowhere."""
    folder.mkdir(parents=True, exist_ok=True)
    info = "tinywheel-1.0.dist-info"
    files = {
        **members,
        f"{info}/METADATA": f"{METADATA}Requires-Dist: not-on-the-index\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / "tinywheel-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(zipfile.ZipInfo(name), content)
    return Path(wheel.filename)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A wheel on a package index that is a folder; pip reaches no other."""
    wheel = build_wheel(tmp_path / "index", {MEMBER: "pinned", "tinywheel/__init__.py": CODE})
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TUNELOCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_wheel_is_fetched_once_then_read_offline_and_never_installed(index, cache, monkeypatch):
    wheel = fetch.fetch_wheel("tinywheel==1.0", sha256(index))
    assert wheel.read_bytes() == index.read_bytes()
    assert files_below(cache) == [wheel]
    monkeypatch.setattr(fetch, "download_wheel", lambda *_: pytest.fail("the index was asked again"))
    index.unlink()
    assert fetch.fetch_wheel("tinywheel==1.0", sha256(wheel)) == wheel
    assert open_member(wheel, MEMBER).read() == b"pinned"
    assert "tinywheel" not in sys.modules
    assert importlib.util.find_spec("tinywheel") is None


def test_a_wheel_with_another_digest_stops_and_is_removed(index, cache):
    with pytest.raises(Stop, match=f"tinywheel==1.0 .*sha256 {sha256(index)}, params.yaml pins {'0' * 64}"):
        fetch.fetch_wheel("tinywheel==1.0", "0" * 64)
    assert files_below(cache) == []


def test_a_version_that_the_index_lacks_stops_and_leaves_nothing(index, cache):
    with pytest.raises(Stop, match=r"pip could not download tinywheel==2\.0"):
        fetch.fetch_wheel("tinywheel==2.0", sha256(index))
    assert files_below(cache) == []


def test_a_damaged_file_in_the_cache_is_fetched_anew(index, cache, monkeypatch):
    monkeypatch.setattr(fetch, "download_wheel", lambda _, folder: Path(shutil.copy(index, folder)))
    wheel = fetch.fetch_wheel("tinywheel==1.0", sha256(index))
    wheel.write_bytes(wheel.read_bytes()[:-1])
    assert fetch.fetch_wheel("tinywheel==1.0", sha256(index)).read_bytes() == index.read_bytes()


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
def test_a_download_that_breaks_off_leaves_nothing(index, cache, monkeypatch, fault):
    def half(_, folder):
        (folder / index.name).write_bytes(index.read_bytes()[:50])
        raise fault

    monkeypatch.setattr(fetch, "download_wheel", half)
    with pytest.raises(type(fault)):
        fetch.fetch_wheel("tinywheel==1.0", sha256(index))
    assert files_below(cache) == []


def test_what_a_killed_download_left_is_not_used(index, cache, monkeypatch):
    left = cache / sha256(index) / "partial-killed" / index.name
    left.parent.mkdir(parents=True)
    left.write_bytes(index.read_bytes()[:50])
    monkeypatch.setattr(fetch, "download_wheel", lambda _, folder: Path(shutil.copy(index, folder)))
    assert fetch.fetch_wheel("tinywheel==1.0", sha256(index)).read_bytes() == index.read_bytes()


def test_the_cache_is_in_the_home_folder_unless_the_environment_says_where(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNELOCK_CACHE", "")
    assert fetch.cache_folder() == tmp_path / ".cache" / "tunelock"


def test_an_address_is_split_into_requirement_and_member():
    assert fetch.parse_wheel_uri("wheel:a-b.c==1.2.post1/d/e.xml") == ("a-b.c==1.2.post1", "d/e.xml")


@pytest.mark.parametrize(
    "uri", ["a==1/b", "wheel:a/b", "wheel:a==1", "wheel:a==1/", "wheel:a>=1/b", "wheel:a -r x==1/b", ""]
)
def test_another_form_of_address_stops(uri):
    with pytest.raises(Stop, match="is no wheel address"):
        fetch.parse_wheel_uri(uri)


@pytest.fixture
def server(cache, monkeypatch):
    """A web server on this machine: `routes[path] = (status, headers, body)`; `asked` lists the requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            status, headers, body = server.routes.get(self.path, (404, {}, b"no such page"))
            self.send_response(status)
            length = {} if "Transfer-Encoding" in headers else {"Content-Length": str(len(body))}
            for key, value in (length | headers).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.routes, server.asked, server.url = {}, [], f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


BODY = b'{"text": "a row"}\n' * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()


def stops(url: str, cache: Path, sha256: str = DIGEST) -> str:
    """What `fetch_url` says on stopping; nothing may be left in the cache."""
    with pytest.raises(Stop) as stop:
        fetch.fetch_url(url, sha256)
    assert list(cache.rglob("*")) == []
    return str(stop.value)


def test_a_url_is_fetched_once_then_read_offline(server, cache):
    server.routes["/x.jsonl"] = (200, {}, BODY)
    file = fetch.fetch_url(f"{server.url}/x.jsonl", DIGEST)
    assert file.read_bytes() == BODY
    assert files_below(cache) == [file]
    assert fetch.fetch_url("http://192.0.2.1/gone.jsonl", DIGEST) == file
    assert server.asked == ["/x.jsonl"]
    file.write_bytes(b"damaged")
    assert fetch.fetch_url(f"{server.url}/x.jsonl", DIGEST).read_bytes() == BODY


def test_a_url_is_fetched_as_it_is_stored(server):
    body = gzip.compress(BODY)
    server.routes["/x.jsonl.gz"] = (200, {"Content-Encoding": "gzip"}, body)
    assert fetch.fetch_url(f"{server.url}/x.jsonl.gz", hashlib.sha256(body).hexdigest()).read_bytes() == body


def test_a_url_with_another_digest_stops(server, cache):
    server.routes["/x.jsonl"] = (200, {}, BODY)
    words = stops(f"{server.url}/x.jsonl", cache, "0" * 64)
    assert f"has sha256 {DIGEST}, params.yaml pins {'0' * 64}" in words
    assert "web page" not in words


def test_a_web_page_instead_of_the_file_stops(server, cache):
    server.routes["/x.jsonl"] = (200, {}, b"\n<!DOCTYPE html><html>please log in</html>")
    assert "answered with a web page, not with the file; check the address" in stops(f"{server.url}/x.jsonl", cache)


@pytest.mark.parametrize("status", [404, 403, 500, 204])
def test_a_status_other_than_200_stops(server, cache, status):
    server.routes["/x.jsonl"] = (status, {}, b"")
    assert f"status {status}" in stops(f"{server.url}/x.jsonl", cache)


@pytest.mark.parametrize("pin", [None, "", "main", "../../etc", DIGEST[:-1], DIGEST.upper()])
def test_a_url_without_a_sha256_stops_before_it_is_asked_for(server, cache, pin):
    assert "no sha256" in stops(f"{server.url}/x.jsonl", cache, pin)
    assert server.asked == []


def test_a_redirect_within_the_named_server_is_followed(server):
    server.routes["/x.jsonl"] = (302, {"Location": "/moved"}, b"")
    server.routes["/moved"] = (301, {"Location": f"{server.url}/here"}, b"")
    server.routes["/here"] = (200, {}, BODY)
    assert fetch.fetch_url(f"{server.url}/x.jsonl", DIGEST).read_bytes() == BODY


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("file:///etc/passwd", "not on the web"),
        ("ftp://example.org/x.jsonl", "not on the web"),
        ("http://127.0.0.1:1/x.jsonl", "private network"),
        ("http://localhost:1/x.jsonl?token=secret", "private network"),
        ("http://10.0.0.1/x.jsonl", "private network"),
        ("http://169.254.169.254/latest/meta-data", "private network"),
        ("http://[::ffff:127.0.0.1]:1/x.jsonl", "private network"),
        ("http://2130706433:1/x.jsonl", "private network"),
        ("http://[/x.jsonl", "cannot be reached"),
    ],
)
def test_a_redirect_to_where_only_this_machine_can_go_stops(server, cache, target, words):
    server.routes["/x.jsonl"] = (302, {"Location": target}, b"")
    said = stops(f"{server.url}/x.jsonl", cache)
    assert words in said
    assert "secret" not in said


def test_a_redirect_to_another_local_server_is_not_asked_for(server, cache):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server.routes["/x.jsonl"] = (302, {"Location": f"http://127.0.0.1:{other.getsockname()[1]}/x"}, b"")
        stops(f"{server.url}/x.jsonl", cache)
        other.settimeout(0.05)
        with pytest.raises(TimeoutError):
            other.accept()


def test_a_redirect_from_https_to_http_stops():
    with pytest.raises(Stop, match="not encrypted"):
        web.refuse_redirect("https://example.org/a", "https://example.org/a", "http://example.org/a")


def test_endless_redirects_stop(server, cache):
    server.routes["/x.jsonl"] = (302, {"Location": "/x.jsonl"}, b"")
    assert "redirects more than 5 times" in stops(f"{server.url}/x.jsonl", cache)
    assert len(server.asked) == 6


def test_a_body_that_breaks_off_stops(server, cache):
    server.routes["/x.jsonl"] = (200, {"Content-Length": str(len(BODY) + 1)}, BODY)
    assert f"broke off after {len(BODY)} of {len(BODY) + 1} bytes; run it again" in stops(
        f"{server.url}/x.jsonl", cache
    )


def test_a_body_in_chunks_that_breaks_off_stops(server, cache):
    server.routes["/x.jsonl"] = (200, {"Transfer-Encoding": "chunked"}, b"ff\r\ncut")
    assert "broke off after 0 of unknown bytes" in stops(f"{server.url}/x.jsonl", cache)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_above_the_size_limit_stops(server, cache, monkeypatch, announced):
    monkeypatch.setattr(web, "MAX_BYTES", len(BODY) - 1)
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    server.routes["/x.jsonl"] = (200, {}, BODY) if announced else (200, {"Transfer-Encoding": "chunked"}, chunks)
    assert f"larger than {len(BODY) - 1} bytes" in stops(f"{server.url}/x.jsonl", cache)


def test_a_server_that_is_silent_stops(cache, monkeypatch):
    monkeypatch.setattr(web, "TIMEOUTS", (0.05, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "cannot be reached (ReadTimeout)" in stops(f"http://127.0.0.1:{silent.getsockname()[1]}/x", cache)


@pytest.mark.parametrize("form", ["http://me:hunter2@{0}/x.jsonl", "http://{0}/x.jsonl?token=hunter2#hunter2"])
@pytest.mark.parametrize("status", [200, 404, 302])
def test_no_message_tells_a_secret_of_the_address(server, cache, capfd, form, status):
    secret = form.format(server.url.removeprefix("http://"))
    for path in ("/x.jsonl", "/x.jsonl?token=hunter2"):
        server.routes[path] = (status, {"Location": "file:///x?token=hunter2"}, b"another")
    assert "hunter2" not in stops(secret, cache) + "".join(capfd.readouterr())
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://[/x", "http://", "http://:1/", "http://h:port/"])
def test_an_address_that_leads_nowhere_stops(cache, url, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    assert "check the address and the network" in stops(url, cache)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:12], COMMIT.upper()])
def test_a_hub_dataset_without_a_whole_commit_stops(revision):
    with pytest.raises(Stop, match="40-digit commit"):
        fetch.fetch_hub_dataset("org/name", revision, ["*"])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (hub.GatedRepoError, "is gated"),
        (hub.RepositoryNotFoundError, "no dataset 'org/name'"),
        (hub.RevisionNotFoundError, f"no commit {COMMIT}"),
        (hub.LocalEntryNotFoundError, "go online once"),
        (hub.IncompleteSnapshotError, "go online once"),
        (hub.OfflineModeIsEnabled, "OfflineModeIsEnabled"),
        (hub.HfHubHTTPError, "HfHubHTTPError"),
        (hub.HTTPError, "run it again"),
        (hub.HFValidationError, "no name of a hub dataset"),
    ],
)
def test_what_the_hub_refuses_stops_in_one_sentence(monkeypatch, fault, words):
    def refuse(*_, **__):
        raise fault.__new__(fault)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(Stop, match=words):
        fetch.fetch_hub_dataset("org/name", COMMIT, ["*"])
