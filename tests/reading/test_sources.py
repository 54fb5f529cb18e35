"""One address becomes its files, in one order, and nothing that DVC does not watch or a digest does not pin."""

import gzip
import hashlib
import os
import socket
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tunelock.fetching import fetch
from tunelock.reading import sources
from tunelock.reading.sources import find_files
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_path

ROOT = Path(__file__).parents[2]
ROWS = b'{"text": "a row"}\n{"text": "another"}\n'
TABLE = b"text,id\na row,1\nanother,2\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "repository" / "data" / "raw").mkdir(parents=True)
    return tmp_path / "repository"


def put(path: Path, content: bytes = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def zipped(path: Path, **members: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def names(path: str, root: Path, revision: str | None = None) -> list[str]:
    return [file.name for file in find_files(path, revision, root)]


def stops(path: str, root: Path, revision: str | None = None) -> str:
    with pytest.raises(Stop) as stop:
        find_files(path, revision, root)
    return str(stop.value)


def test_a_file_in_data_raw_is_read_as_it_is(root):
    put(root / "data/raw/a.JSONL")
    [file] = find_files("data/raw/a.JSONL", None, root)
    assert file[:3] == ("data/raw/a.JSONL", ".jsonl", len(ROWS))
    assert file.open().read() == file.open().read() == ROWS


def test_without_a_root_the_working_folder_is_the_repository(root, monkeypatch):
    put(root / "data/raw/a.jsonl")
    monkeypatch.chdir(root)
    for path in ("data/raw/a.jsonl", "./data/raw/a.jsonl", str(root / "data/raw/a.jsonl"), "./data/./raw/*"):
        assert [file.name for file in find_files(path, None)] == ["data/raw/a.jsonl"]


@pytest.mark.parametrize("suffix", sources.SUFFIXES)
@pytest.mark.parametrize("packing", ["", ".gz", ".zst", ".GZ"])
def test_each_suffix_is_read_plain_and_packed(root, suffix, packing):
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(packing.lower(), bytes)
    content = TABLE if suffix in (".csv", ".tsv") else ROWS
    put(root / f"data/raw/a{suffix}{packing}", pack(content))
    [file] = find_files("data/raw", None, root)
    assert file[:3] == (f"data/raw/a{suffix}{packing}", suffix, len(pack(content)))
    assert file.open().read() == content


def test_the_supported_members_of_a_zip_are_files_of_their_own(root):
    members = {
        "b/ü.csv": b"a,b",
        "a.jsonl.gz": gzip.compress(ROWS),
        "x.py": b"",
        "__MACOSX/b/._ü.csv": b"x",
        ".h.csv": b"x",
    }
    zipped(root / "data/raw/z.zip", **members)
    files = find_files("data/raw/z.zip", None, root)
    assert [(file.name, file.suffix) for file in files] == [
        ("data/raw/z.zip!a.jsonl.gz", ".jsonl"),
        ("data/raw/z.zip!b/ü.csv", ".csv"),
    ]
    assert [file.open().read() for file in files] == [ROWS, b"a,b"]
    assert [file.open().read() for file in files] == [ROWS, b"a,b"]


def test_parquet_is_seekable_wherever_it_comes_from(root):
    table = pyarrow.table({"text": ["a", "b"]})
    pyarrow.parquet.write_table(table, root / "data/raw/a.parquet")
    content = (root / "data/raw/a.parquet").read_bytes()
    put(root / "data/raw/b.parquet.gz", gzip.compress(content))
    put(root / "data/raw/c.parquet.zst", zstandard.ZstdCompressor().compress(content))
    zipped(root / "data/raw/d.zip", **{"d.parquet": content})
    files = find_files("data/raw", None, root)
    assert [file.suffix for file in files] == [".parquet"] * 4
    for file in files:
        with file.open() as stream:
            assert pyarrow.parquet.read_table(stream).equals(table)


def test_a_folder_gives_what_can_be_read_in_order_of_name(root, monkeypatch):
    kept = ["a/z.txt", "a b.csv", "a.jsonl", "b/README.md", "b/c/d.md", "Ω.txt", "😀.json"]
    left = ["README.md", ".hidden.jsonl", ".folder/x.jsonl", "a.jsonl.dvc", ".gitignore", "picture.png", "x.gz"]
    for name in [*kept, *left]:
        put(root / "data/raw" / name, b"outs: [{path: a.jsonl}]")
    expected = sorted(f"data/raw/{name}" for name in kept)
    assert names("data/raw", root) == names("data/raw/", root) == names("data/raw/**", root) == expected
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((h, d, n[::-1]) for h, d, n in walk(*a, **k)))
    assert names("data/raw", root) == expected


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("data/raw/*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("data/raw/[ab].*", ["a.csv", "a.jsonl", "b.jsonl"]),
        ("data/raw/?.csv", ["a.csv"]),
        ("data/raw/**/*.jsonl", ["a.jsonl", "b.jsonl", "c/d.jsonl", "c/e/f.jsonl"]),
        ("data/raw/*/*.jsonl", ["c/d.jsonl"]),
        ("data/raw/c/**", ["c/d.jsonl", "c/e/f.jsonl"]),
        ("data/*/a.csv", ["a.csv"]),
    ],
)
def test_a_glob_gives_what_matches(root, glob, expected):
    for name in ("a.csv", "a.jsonl", "b.jsonl", "c/d.jsonl", "c/e/f.jsonl", ".h.jsonl", "a.exe"):
        put(root / "data/raw" / name)
    assert names(glob, root) == [f"data/raw/{name}" for name in expected]


@pytest.mark.parametrize("name", ["x [1].jsonl", "*.jsonl", "a#b?.csv", "ümlaut 😀 e\u0301.txt", "-x.csv", "$HOME.csv"])
def test_odd_names_are_read_and_told_in_nfc(root, name):
    put(root / "data/raw" / name, TABLE)
    [file] = find_files(f"data/raw/{name}", None, root)
    assert file.name == unicodedata.normalize("NFC", f"data/raw/{name}")
    assert file.open().read() == TABLE


@pytest.mark.parametrize("path", ["data/raw/é.jsonl", "data/raw/é*", "data/raw/e\u0301.jsonl", "data/raw/e\u0301*"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_accent_may_be_written_in_either_way(root, path, form):
    put(root / unicodedata.normalize(form, "data/raw/é.jsonl"))
    assert names(path, root) == ["data/raw/é.jsonl"]


@pytest.mark.parametrize("folder", ["a b é", unicodedata.normalize("NFD", "a b é")])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_repository_may_lie_below_another_spelling(root, folder, form):
    below = root / folder
    put(below / unicodedata.normalize(form, "data/raw/é.jsonl"))
    assert names("data/raw/é.jsonl", below) == names("data/raw/e\u0301*", below) == ["data/raw/é.jsonl"]


@pytest.mark.parametrize("name", ["e\u0301-ü.jsonl", "é-u\u0308.jsonl"])
def test_a_name_may_be_written_in_one_form_here_and_the_other_there(root, name):
    put(root / "data/raw" / name)
    for path in ("data/raw/é-ü.jsonl", "data/raw/e\u0301-u\u0308.jsonl", "data/raw/é-?.jsonl", "data/raw"):
        assert names(path, root) == ["data/raw/é-ü.jsonl"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_of_dvc_is_there_in_either_form(root, form):
    put(root / "data/raw" / unicodedata.normalize(form, "é.jsonl"))
    for other in ("NFC", "NFD"):
        name = unicodedata.normalize(other, "é.jsonl")
        put(root / f"data/raw/{name}.dvc", f"outs:\n- md5: 0\n  path: {name}\n".encode())
    assert names("data/raw", root) == ["data/raw/é.jsonl"]


def test_two_names_that_look_alike_stop(root):
    for form in ("NFC", "NFD"):
        put(root / "data/raw" / unicodedata.normalize(form, "é.jsonl"))
    assert "two files have the name data/raw/é.jsonl" in stops("data/raw", root)


@pytest.fixture
def experiment(root, tmp_path, monkeypatch) -> Path:
    """The copy in which DVC runs an experiment (`--temp`, `--queue`): it has what git has of the repository `root`."""
    put(root / "data/raw/a.csv")
    git = ["git", "-C", str(root), "-c", "user.name=n", "-c", "user.email=n@example.invalid"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "data"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", str(root), str(tmp_path / "experiment")], check=True)
    monkeypatch.setenv("DVC_ROOT", str(root))
    return tmp_path / "experiment"


@pytest.mark.parametrize("path", ["data/raw/b é.csv", "data/raw", "./data/raw/", "data/raw/*.csv", "data/**/b*"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_experiment_does_not_go_without_a_file_that_git_does_not_have(root, experiment, path, form):
    put(root / unicodedata.normalize(form, "data/raw/b é.csv"))
    words = stops(path, experiment)
    assert words.startswith(f"data/raw/b é.csv is in {root}, but git does not have it") and "`git add` it" in words
    assert len(names("data/**/b*", root)) == 1  # the repository itself has it


def test_a_file_of_dvc_that_an_experiment_lacks_is_to_be_pulled(root, experiment):
    for place in (root, experiment):
        put(place / "data/raw/set.dvc", b"outs:\n- md5: 0\n  path: set\n")
    put(root / "data/raw/set/b.csv")
    assert "run `dvc pull data/raw/set.dvc`" in stops("data/raw", experiment)


def test_an_experiment_reads_what_git_has_and_misses_nothing_else(root, experiment):
    for name in ("c/d.txt", "notes.png", ".hidden.csv"):
        put(root / "data/raw" / name)
    assert names("data/raw/*.csv", experiment) == names("data/raw/a.csv", experiment) == ["data/raw/a.csv"]
    assert "data/raw/c/d.txt is in" in stops("data/raw", experiment)


def test_a_name_that_is_not_utf8_stops(root):
    with open(os.fsencode(root) + b"/data/raw/\xff.csv", "wb") as file:
        file.write(ROWS)
    assert "no file name in UTF-8" in stops("data/raw", root)


@pytest.mark.parametrize("path", ["../x.jsonl", "data/raw/../../x.jsonl", "data/raw/**/../*", "", "data/raw/\0.csv"])
def test_a_path_that_leaves_stops(root, path):
    assert "without '..'" in stops(path, root)


@pytest.mark.parametrize("path", ["data/raw/a.jsonl", "data/raw/*.jsonl", "nowhere", "nowhere/*.csv"])
def test_what_is_not_there_stops(root, path):
    words = stops(path, root)
    assert path.split("/*")[0] in words
    assert "check the path" in words


@pytest.mark.parametrize(
    ("path", "name"), [("data/raw", "x.png"), ("data/raw/x.png", "x.png"), ("data/raw/*", "x.docx")]
)
def test_what_cannot_be_read_stops_and_says_what_can(root, path, name):
    put(root / "data/raw" / name)
    assert f"{path} has no" in stops(path, root)
    assert ".jsonl, .ndjson, .json, .csv, .tsv, .parquet, .txt, .md, .xml" in stops(path, root)


def test_a_zip_with_nothing_to_read_stops(root):
    zipped(root / "data/raw/z.zip", **{"a.png": b"x"})
    assert "data/raw/z.zip has no file that can be read" in stops("data/raw", root)


@pytest.mark.parametrize(
    "path", ["data/raw/set/a.jsonl", "data/raw/set", "data/raw/set/*.jsonl", "data/raw", "data/raw/**/*.jsonl"]
)
def test_what_dvc_tracks_but_has_not_pulled_stops(root, path):
    put(root / "data/raw/there.jsonl")
    put(root / "data/raw/set.dvc", b"outs:\n- md5: 0\n  path: set\n")
    assert "run `dvc pull data/raw/set.dvc`, or `dvc checkout" in stops(path, root)


def test_a_glob_misses_only_what_it_would_match(root):
    put(root / "data/raw/a.jsonl")
    put(root / "data/raw/b.csv.dvc", b"outs:\n- md5: 0\n  path: b.csv\n")
    assert names("data/raw/*.jsonl", root) == ["data/raw/a.jsonl"]
    assert "data/raw/b.csv is missing; run `dvc pull data/raw/b.csv.dvc`" in stops("data/raw/*", root)


def test_an_empty_file_stops(root):
    put(root / "data/raw/a.jsonl", b"")
    assert stops("data/raw", root).startswith("data/raw/a.jsonl is empty")
    (root / "data/raw/a.jsonl").unlink()
    zipped(root / "data/raw/z.zip", **{"a.csv": b""})
    assert stops("data/raw", root).startswith("data/raw/z.zip!a.csv is empty")
    (root / "data/raw/z.zip").unlink()
    put(root / "data/raw/a.jsonl.gz", gzip.compress(b""))
    with pytest.raises(Stop, match=r"^data/raw/a\.jsonl\.gz is empty"):
        find_files("data/raw", None, root)[0].open()


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet.gz"])
def test_damage_is_told_with_the_name_of_the_file(root, name):
    put(root / "data/raw" / name, b"no packed file")
    with pytest.raises(Stop, match=f"^data/raw/{name} is cut off or damaged"):
        find_files("data/raw", None, root)[0].open().read()


def test_a_hostile_or_damaged_zip_stops(root):
    zipped(root / "data/raw/z.zip", **{"../a.csv": b"x"})
    assert "data/raw/z.zip: member '../a.csv' points outside" in stops("data/raw", root)
    put(root / "data/raw/z.zip", b"PK\x03\x04")
    assert "data/raw/z.zip is no readable zip but cut off or damaged" in stops("data/raw", root)


def test_a_file_outside_data_raw_needs_its_digest(root):
    digest = hashlib.sha256(ROWS).hexdigest()
    for path in ("data/a.jsonl", str(root.parent / "a.jsonl"), "data/rawer/a.jsonl"):
        put(root / path)
        words = stops(path, root)
        assert "dvc add" in words
        assert f"pin it with revision: {digest}" in words
        assert names(path, root, digest) == [path]
        assert f"has sha256 {digest}, params.yaml pins {'0' * 64}" in stops(path, root, "0" * 64)


def test_a_folder_outside_data_raw_needs_its_digest(root):
    put(root / "other/a.jsonl")
    digest = sha256_path(root / "other")
    assert f"revision: {digest}" in stops("other", root)
    assert names("other", root, digest) == ["other/a.jsonl"]
    put(root / "other/b.jsonl")
    assert f"params.yaml pins {digest}" in stops("other", root, digest)


def test_a_glob_cannot_be_pinned(root):
    put(root / "other/a.jsonl")
    put(root / "data/raw/a.jsonl")
    assert "name a folder instead" in stops("other/*.jsonl", root)
    assert "is a glob" in stops("data/raw/*.jsonl", root, "0" * 64)


def test_a_file_in_data_raw_may_be_pinned_too(root):
    put(root / "data/raw/a.jsonl")
    assert "params.yaml pins" in stops("data/raw/a.jsonl", root, "0" * 64)
    assert names("data/raw/a.jsonl", root, hashlib.sha256(ROWS).hexdigest()) == ["data/raw/a.jsonl"]


@pytest.mark.parametrize("path", ["data/raw", "data/raw/a.jsonl", "data/raw/*.jsonl"])
def test_a_link_out_of_data_raw_counts_as_outside(root, path):
    (root / "data/raw/a.jsonl").symlink_to(put(root.parent / "elsewhere.jsonl"))
    assert "a link counts as where it leads" in stops(path, root)


@pytest.mark.parametrize("config", ["", "config", "config.local"])
def test_the_links_of_dvc_into_its_cache_are_data(root, config):
    cache = root / ".dvc/cache"
    if config:
        cache = root.parent / "shared cache"
        put(
            root / ".dvc" / config,
            f"[core]\n    autostage = true\n['remote \"x\"']\n[cache]\n    dir = {cache}\n".encode(),
        )
    blob = put(cache / "files/md5/00/11")
    (root / "data/raw/a.jsonl").symlink_to(blob)
    (root / "data/raw/b.jsonl").hardlink_to(blob)
    (root / "data/raw/c.jsonl").symlink_to("b.jsonl")
    assert names("data/raw", root) == ["data/raw/a.jsonl", "data/raw/b.jsonl", "data/raw/c.jsonl"]


def test_data_raw_itself_may_be_a_link(root):
    put(root.parent / "big disk/a.jsonl")
    (root / "data/raw").rmdir()
    (root / "data/raw").symlink_to(root.parent / "big disk")
    assert names("data/raw", root) == ["data/raw/a.jsonl"]


def test_a_linked_folder_stops(root):
    put(root.parent / "elsewhere/a.jsonl")
    put(root / "data/raw/b.jsonl")
    (root / "data/raw/more").symlink_to(root.parent / "elsewhere")
    assert "is a link to a folder" in stops("data/raw", root)
    assert "a link counts as where it leads" in stops("data/raw/more", root)


def test_a_link_to_nothing_stops(root):
    (root / "data/raw/a.jsonl").symlink_to(root / ".dvc/cache/gone")
    assert "dvc checkout" in stops("data/raw", root)
    assert "dvc checkout" in stops("data/raw/a.jsonl", root)


def test_what_is_no_file_stops(root):
    os.mkfifo(root / "data/raw/a.jsonl")
    assert "is neither" in stops("data/raw/a.jsonl", root)
    assert "has no file" in stops("data/raw", root)


@pytest.mark.parametrize(
    "path", ["s3://bucket/x.jsonl", "file:///etc/passwd.txt", "ftp://me:hunter2@host/x.jsonl?hunter2"]
)
def test_another_kind_of_address_stops(root, path):
    assert "dvc import-url" in stops(path, root)
    assert "hunter2" not in stops(path, root)


@pytest.mark.parametrize("kind", ["jsonl.gz", "zip"])
def test_a_url_is_its_file_or_the_members_of_its_zip(root, monkeypatch, tmp_path, kind):
    content = put(tmp_path / "content", gzip.compress(ROWS))
    if kind == "zip":
        zipped(content, **{"a.jsonl": ROWS})
    monkeypatch.setattr(sources, "fetch_url", lambda url, sha256: content)
    [file] = find_files(f"https://me:hunter2@host/a%20b.{kind}?token=hunter2", "0" * 64, root)
    assert file.name == f"https://host/a%20b.{kind}?…" + "!a.jsonl" * (kind == "zip")
    assert file.suffix == ".jsonl"
    assert file.open().read() == ROWS


@pytest.mark.parametrize(
    "path", ["https://host/x", "http://host/x.exe?x=.csv", "wheel:a==1/x.py", "wheel:a==1/x.zip", "wheel:a==1/csv"]
)
def test_an_unknown_suffix_stops_before_anything_is_fetched(root, monkeypatch, path):
    monkeypatch.setattr(socket, "create_connection", pytest.fail)
    monkeypatch.setattr(sources, "fetch_wheel", pytest.fail)
    assert "no suffix that can be read" in stops(path, root, "0" * 64)


def test_a_member_of_a_wheel_is_one_file(root, monkeypatch, tmp_path):
    wheel = zipped(tmp_path / "a-1.whl", **{"a/x.csv": b"a,b", "a/y.jsonl.gz": gzip.compress(ROWS)})
    monkeypatch.setattr(
        sources, "fetch_wheel", lambda requirement, sha256: {("a==1", "0" * 64): wheel}[requirement, sha256]
    )
    [file] = find_files("wheel:a==1/a/x.csv", "0" * 64, root)
    assert (file.name, file.suffix, file.open().read()) == ("wheel:a==1/a/x.csv", ".csv", b"a,b")
    [file] = find_files("wheel:a==1/a/y.jsonl.gz", "0" * 64, root)
    assert (file.suffix, file.open().read()) == (".jsonl", ROWS)
    assert "has no member 'a/z.csv'" in stops("wheel:a==1/a/z.csv", root, "0" * 64)


@pytest.mark.parametrize(
    "path", ["hf://org/name", "hf://datasets/name", "hf://datasets/org/", "hf://models/org/name/x"]
)
def test_another_form_of_hub_address_stops(root, path):
    assert "no address of a hub dataset" in stops(path, root, COMMIT)


@pytest.mark.parametrize("path", ["wheel:a==1/x.csv", "https://host/x.csv", "hf://datasets/org/name"])
def test_what_comes_from_elsewhere_must_be_pinned(root, path, monkeypatch, tmp_path):
    monkeypatch.setenv("TUNELOCK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "download_wheel", pytest.fail)
    assert "None" in stops(path, root)


def test_a_hub_dataset_is_read_offline_from_the_hubs_cache(tmp_path):
    """Through the real library: the files are links to blobs, as the hub's own download leaves them."""
    dataset = tmp_path / "hub/datasets--org--name"
    blob = put(dataset / "blobs/0123", ROWS)
    for name in ("train.jsonl", "data/a.jsonl", "data/b/c.jsonl", "README.md", "data/x.py", ".gitattributes"):
        link = dataset / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    put(dataset / "refs/main", COMMIT.encode())
    code = """
import sys; from tunelock.reading.sources import find_files
for glob in ("", "/data/*.jsonl", "/**/c.jsonl", "/**/train.jsonl"):
    print(*[f.name for f in find_files("hf://datasets/org/name" + glob, sys.argv[1]) if f.open().read()])
"""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub"), "PYTHONPATH": str(ROOT)}
    read = [sys.executable, "-c", code]
    done = subprocess.run([*read, COMMIT], env=env, capture_output=True, text=True, check=True, cwd=tmp_path)
    start = "hf://datasets/org/name@0123456789ab"
    assert [line.replace(start, "") for line in done.stdout.splitlines()] == [
        "/data/a.jsonl /data/b/c.jsonl /train.jsonl", "/data/a.jsonl", "/data/b/c.jsonl", "/train.jsonl",
    ]  # fmt: skip
    done = subprocess.run([*read, COMMIT[::-1]], env=env, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "the hub cannot be reached" in done.stderr


def test_importing_the_module_is_quick():
    slow = {"requests", "zstandard", "huggingface_hub", "torch"}
    code = f"import sys, tunelock.reading.sources; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
