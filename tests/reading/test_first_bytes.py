"""A file that is not what its name says is read where that is safe, or stops and says what it is."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
import zstandard

from tunelock.reading.reading import Source, read_source
from tunelock.run.errors import Stop

LINE = b'{"question": "Why?", "answer": "Because."}\n'
PLAIN = {
    ".jsonl": LINE, ".ndjson": LINE, ".json": b"[" + LINE + b"]", ".csv": b"question,answer\nWhy?,Because.\n",
    ".tsv": b"question\tanswer\nWhy?\tBecause.\n", ".txt": b"Because.", ".md": b"Because.",
}  # fmt: skip
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"
POINTERS = {
    "LFS": (LFS, "Git-LFS", "git lfs pull"),
    "LFS with an extension": (LFS.replace(b"oid", b"ext-0-foo sha256:aa\noid"), "Git-LFS", "git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s12--ab12.jsonl\n", "git-annex", "git annex get"),
}
SUFFIXES = [*PLAIN, ".parquet", ".xml", ".jsonl.gz", ".csv.zst", ".zip"]


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)


def read_file(name: str, content: bytes, **source) -> list[str]:
    Path("data/raw", name).write_bytes(content)
    found = list(read_source("mine", Source(f"data/raw/{name}", **source)))
    return [row["reason"] if "status" in row else row["messages"][-1]["content"] for row in found]


def stops(name: str, content: bytes) -> str:
    with pytest.raises(Stop) as stop:
        read_file(name, content)
    assert str(stop.value).startswith(f"data/raw/{name} ")
    return str(stop.value)


@pytest.mark.parametrize(("content", "what", "command"), POINTERS.values(), ids=POINTERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pointer_is_no_data_and_stops_with_the_command_that_fetches_it(suffix, content, what, command):
    words = stops(f"a{suffix}", content)
    assert f"is a {what} pointer" in words and f"`{command}`" in words


def test_a_pointer_among_good_files_and_in_an_archive_stops_too():
    Path("data/raw/good.txt").write_bytes(b"Because.")
    Path("data/raw/pointer.txt").write_bytes(LFS)
    with pytest.raises(Stop, match=r"data/raw/pointer\.txt is a Git-LFS pointer"):
        list(read_source("mine", Source("data/raw")))
    with zipfile.ZipFile("data/raw/z.zip", "w") as archive:
        archive.writestr("a.csv", LFS)
    with pytest.raises(Stop, match=r"z\.zip!a\.csv is a Git-LFS pointer"):
        list(read_source("mine", Source("data/raw/z.zip")))


def test_a_text_about_pointers_is_a_text():
    assert len(read_file("a.md", b"# On pointers\n\n" + LFS)) == 1
    assert len(read_file("b.md", b"version https://git-lfs.github.com/spec/v1\nis how a pointer begins.\n")) == 1


def test_a_link_into_an_annex_that_is_not_there_stops_with_its_command():
    Path("data/raw/a.jsonl").symlink_to(".git/annex/objects/x/y/SHA256E-s12--ab12.jsonl")
    for path in ("data/raw", "data/raw/a.jsonl"):
        with pytest.raises(Stop, match="`git annex get`"):
            list(read_source("mine", Source(path)))


@pytest.mark.parametrize("suffix", PLAIN)
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_packed_bytes_under_a_plain_name_are_unpacked(suffix, pack):
    assert read_file(f"a{suffix}", pack(PLAIN[suffix])) == ["Because."]
    assert read_file(f"a{suffix}.gz", pack(PLAIN[suffix])) == ["Because."]


def test_parquet_may_be_packed_under_a_plain_name():
    assert read_file("a.parquet", gzip.compress(parquet())) == ["Because."]


def parquet() -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["Because."]}), out)
    return out.getvalue()


def feather() -> bytes:
    out = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.table({"text": ["Because."]}), out)
    return out.getvalue()


def arrow_stream() -> bytes:
    out, table = io.BytesIO(), pyarrow.table({"text": ["Because."]})
    with pyarrow.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("a.jsonl")
        member.size = len(LINE)
        archive.addfile(member, io.BytesIO(LINE))
    return out.getvalue()


def database() -> bytes:
    with sqlite3.connect("a.db") as connection:
        connection.execute("create table if not exists rows (text)")
    return Path("a.db").read_bytes()


KINDS = {
    "Parquet": (parquet, ".parquet"),
    "a zip archive": (lambda: zipped(**{"a.jsonl": LINE}), ".zip"),
    "an Office document": (lambda: zipped(**{"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<a/>"}), "CSV"),
    "PDF": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", ".txt"),
    "packed by xz": (lambda: lzma.compress(LINE), "xz -d"),
    "packed by bzip2": (lambda: bz2.compress(LINE), "bunzip2"),
    "a tar archive": (tarred, "tar -xf"),
    "an Arrow (Feather) file": (feather, "Parquet"),
    "an Arrow stream": (arrow_stream, "Parquet"),
    "an SQLite database": (database, "CSV"),
    "a Python pickle": (lambda: pickle.dumps([json.loads(LINE)]), "JSON lines"),
    "an old Office document": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "CSV"),
}


@pytest.mark.parametrize("suffix", [*PLAIN, ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize(("make", "way_out"), KINDS.values(), ids=KINDS)
def test_bytes_of_another_format_are_named_with_the_way_out(suffix, make, way_out):
    kind = next(kind for kind, found in KINDS.items() if found[0] is make)
    if (suffix, kind) == (".parquet", "Parquet"):
        assert read_file("a.parquet", make()) == ["Because."]
        return
    words = stops(f"a{suffix}", make())
    assert kind in words and way_out in words
    if suffix == ".jsonl.gz":
        assert kind in stops("b.jsonl.gz", gzip.compress(make()))


def test_an_excel_workbook_called_zip_is_no_archive_of_data():
    assert "Excel" in stops("a.zip", zipped(**{"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<a/>"}))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.zip", "a.parquet", "a.json.gz"])
def test_a_web_page_in_place_of_data_is_named(name):
    assert "web page" in stops(name, b"\n<!DOCTYPE html>\n<html><body>Please log in.</body></html>")


def test_a_text_that_is_html_stays_a_text():
    assert len(read_file("a.md", b"<html><body>Because.</body></html>")) == 1


def test_what_was_never_packed_and_json_called_parquet_are_told():
    assert "Drop .gz from its name" in stops("a.jsonl.gz", LINE)
    assert "never packed" in stops("a.csv.zst", PLAIN[".csv"])
    assert "is JSON under another name" in stops("a.parquet", LINE)
    for name in ("a.csv", "a.tsv"):
        assert "call it .jsonl or .json" in stops(name, LINE)
        assert "call it .jsonl or .json" in stops(name, gzip.compress(b"[\n  " + LINE.strip() + b"\n]\n"))
