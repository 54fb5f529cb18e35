"""The same inputs give the same archive, and `verify` names every file that is not as it was packed."""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from stages.package import PackageFacts, choose_chat, compose_texts
from tunelock.records.about_data import AboutData
from tunelock.run.errors import Stop
from tunelock.shipping.packing import SUMS, choose_format, pack_files, verify_package

ROOT = Path(__file__).parents[2]
FILES = {"NOTICE": b"CWE by MITRE\n", "metadata.json": b"{}\n", "tokenizer.json": b"[]\n"}
SHA = "ab" * 32
MADE_FROM = {
    "chat": [{"role": "user", "content": 'What is "it"? {x}'}],
    "params": {
        "sources": {"own": {"path": "data/raw/a.csv", "licence": "MIT"}},
        "dtype": "auto",
        "model_name_or_path": "org/tiny",
        "gate": {"retention": ">= 0.95", "claims.test_loss.difference": "< 0", "test_perplexity_tuned": "<= main"},
    },
    "metrics": {
        "evaluate": {"test_perplexity_base": 26.4, "test_perplexity_tuned": 18.125},
        "data": {"rows": 7525},
        "retention": {"retention": 0.929},
        "claims": {
            "claim": "no gain",
            "claim_sentence": "No gain is claimed: it may be chance.",
            "test_loss": {"difference": -0.5},
        },
        "diagnosis": {"verdicts": 1, "gibberish": {"step": None, "evidence": "52% of the words are strange."}},
    },
    "hashes": {"code": "c0de", "data": {"train.jsonl": "da7a"}, "base": {"model.safetensors": "ba5e"}},
    "provenance": {
        "base_model": "org/tiny",
        "base_revision": "0" * 40,
        "base_sha256": SHA,
        "method": "lora",
        "dtype": "bfloat16",
    },
    "dependencies": ["dvc==3.0", "peft==0.1", "torch==2.0"],
    "about": AboutData(title="tickets", personal_data="Names were replaced."),
    "notice": "CWE by MITRE\n",
}


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    pack_files(FILES, tmp_path / "package.tar.gz")
    return tmp_path / "package.tar.gz"


def members(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(archive) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar.getmembers()]


def write(archive: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))


def member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    info.linkname = "metadata.json" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return info, data


def with_notice(archive: Path, *instead: tuple[tarfile.TarInfo, bytes]) -> list[str]:
    """What `verify` says when the member NOTICE is replaced."""
    write(archive, [*instead, *(entry for entry in members(archive) if entry[0].name != "NOTICE")])
    return verify_package(archive)


def test_the_bytes_do_not_depend_on_time_place_order_or_umask(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    other = tmp_path / "elsewhere" / "other.tar.gz"
    before = os.umask(0o077)
    try:
        pack_files(dict(reversed(FILES.items())), other)
    finally:
        os.umask(before)
    assert other.read_bytes() == archive.read_bytes()


def test_a_file_that_lies_on_the_disk_gives_the_bytes_of_its_content(archive, tmp_path):
    (tmp_path / "notice").write_bytes(FILES["NOTICE"])
    pack_files(FILES | {"NOTICE": tmp_path / "notice"}, tmp_path / "other.tar.gz")
    assert (tmp_path / "other.tar.gz").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("size", [0, 2**33 - 1, 2**33, 9 * 2**30, 2**40])
def test_a_member_may_have_any_size_and_up_to_8_gib_its_header_is_ustar(size):
    info = tarfile.TarInfo("model.safetensors")
    info.size = size
    header = info.tobuf(choose_format(size))
    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size == size
    assert (header[257:265] == b"ustar\x0000") == (size < 2**33)


def test_packing_and_verifying_hold_a_large_file_in_pieces(tmp_path):
    """It has holes and is 48 MiB long; a form of tar for large members is as readable as the other."""
    with open(tmp_path / "model.safetensors", "wb") as weights:
        weights.truncate(48 * 2**20)
    tracemalloc.start()
    try:
        pack_files(FILES | {"model.safetensors": tmp_path / "model.safetensors"}, tmp_path / "package.tar.gz")
        assert verify_package(tmp_path / "package.tar.gz") == []
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_names_are_sorted_and_no_owner_is_recorded(archive):
    infos = [info for info, _ in members(archive)]
    assert [info.name for info in infos] == sorted([*FILES, SUMS])
    assert {(i.uid, i.gid, i.uname, i.gname, i.mode, i.mtime) for i in infos} == {(0, 0, "", "", 0o644, 0)}


def test_the_time_of_every_file_follows_source_date_epoch(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    dated = tmp_path / "dated.tar.gz"
    pack_files(FILES, dated)
    assert {info.mtime for info, _ in members(dated)} == {1700000000}
    assert int.from_bytes(dated.read_bytes()[4:8], "little") == 1700000000  # gzip's own time
    assert [data for _, data in members(dated)] == [data for _, data in members(archive)]
    assert verify_package(dated) == []


def test_a_fresh_archive_is_as_it_was_packed(archive):
    assert verify_package(archive) == []


def test_a_changed_file_is_named(archive):
    assert with_notice(archive, member("NOTICE", b"CWE by MITRF\n")) == ["NOTICE: was changed"]


def test_a_missing_file_is_named(archive):
    assert with_notice(archive) == ["NOTICE: is missing"]


def test_an_added_file_is_named(archive):
    found = with_notice(archive, member("NOTICE", FILES["NOTICE"]), member("run.py", b""))
    assert found == ["run.py: was added"]


def test_a_renamed_file_is_named_with_both_names(archive):
    assert with_notice(archive, member("NOTES", FILES["NOTICE"])) == ["NOTICE: is missing", "NOTES: was added"]


def test_a_file_that_is_there_twice_is_named_whichever_is_the_good_one(archive):
    good, bad = member("NOTICE", FILES["NOTICE"]), member("NOTICE", b"other")
    assert with_notice(archive, good, good) == ["NOTICE: is there twice"]
    assert "NOTICE: is there twice" in with_notice(archive, good, bad)
    assert "NOTICE: is there twice" in with_notice(archive, bad, good)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_file_that_became_a_link_or_device_is_named(archive, kind):
    found = with_notice(archive, member("NOTICE", b"", kind))
    assert found == ["NOTICE: is not a plain file", "NOTICE: is missing"]


@pytest.mark.parametrize("name", ["../NOTICE", "/NOTICE", "folder/NOTICE"])
def test_a_file_outside_the_folder_is_named(archive, name):
    found = with_notice(archive, member("NOTICE", FILES["NOTICE"]), member(name, FILES["NOTICE"]))
    assert f"{name}: was added" in found


def test_two_files_that_changed_places_are_both_named(archive):
    swapped = {"NOTICE": FILES["metadata.json"], "metadata.json": FILES["NOTICE"]}
    write(archive, [member(info.name, swapped.get(info.name, data)) for info, data in members(archive)])
    assert verify_package(archive) == ["NOTICE: was changed", "metadata.json: was changed"]


def test_a_changed_checksum_names_its_file(archive):
    notice = hashlib.sha256(FILES["NOTICE"]).hexdigest().encode()
    write(archive, [member(info.name, data.replace(notice, b"0" * 64)) for info, data in members(archive)])
    assert verify_package(archive) == ["NOTICE: was changed"]


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x1f\x8b not gzip"])
def test_what_is_no_gzip_stops(tmp_path, data):
    file = tmp_path / "package.tar.gz"
    file.write_bytes(data)
    with pytest.raises(Stop, match="is no readable package"):
        verify_package(file)


def test_a_file_that_is_not_there_stops(tmp_path):
    with pytest.raises(Stop, match="No such file"):
        verify_package(tmp_path / "package.tar.gz")


def test_a_truncated_archive_stops(archive):
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(Stop, match="is no readable package"):
        verify_package(archive)


def test_an_archive_without_checksums_stops(archive):
    write(archive, [entry for entry in members(archive) if entry[0].name != SUMS])
    with pytest.raises(Stop, match=f"has no {SUMS}"):
        verify_package(archive)


def test_a_flipped_byte_of_the_archive_itself_is_noticed_and_never_a_traceback(tmp_path):
    file = tmp_path / "package.tar.gz"
    pack_files({"long.txt": b"".join(b"%d\n" % n**2 for n in range(3000))}, file)
    packed = file.read_bytes()
    for at in range(10, len(packed) - 100, 50):  # between gzip's header and the zeros at tar's end
        file.write_bytes(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :])
        try:
            assert verify_package(file), f"byte {at} was flipped and nobody noticed"
        except Stop as stop:
            assert "is no readable package" in str(stop) or SUMS in str(stop)


def test_the_checksums_are_those_that_sha256sum_reads(archive, tmp_path):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    done = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{name}: OK" for name in sorted(FILES)]
    (folder / "NOTICE").write_text("other")
    assert subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, check=False).returncode == 1


def test_metadata_holds_params_metrics_and_hashes_and_nothing_of_the_machine():
    metadata = json.loads(compose_texts(PackageFacts(**MADE_FROM))["metadata.json"])
    assert metadata == {
        "params": MADE_FROM["params"],
        "metrics": MADE_FROM["metrics"],
        "sha256": MADE_FROM["hashes"],
        **MADE_FROM["provenance"],
    }


def test_metadata_does_not_depend_on_the_order_of_the_dicts():
    shuffled = {key: dict(reversed(value.items())) for key, value in MADE_FROM.items() if isinstance(value, dict)}
    assert compose_texts(PackageFacts(**{**MADE_FROM, **shuffled})) == compose_texts(PackageFacts(**MADE_FROM))


@pytest.mark.parametrize(
    ("thinking", "asked"),
    [
        ("none", "=True, enable_thinking=False, return"),
        ("keep", "=True, enable_thinking=True, return"),
        ("empty", "=True, return"),
    ],
)
def test_the_readme_asks_as_training_did(thinking, asked):
    params = MADE_FROM["params"] | {"thinking": thinking}
    template = "{%- if enable_thinking is defined and enable_thinking is false %}"
    facts = PackageFacts(**MADE_FROM | {"params": params, "template": template})
    assert f"add_generation_prompt{asked}" in compose_texts(facts)["README.md"].decode()


def test_the_readme_names_the_base_by_hash_and_both_perplexities():
    readme = compose_texts(PackageFacts(**MADE_FROM))["README.md"].decode()
    assert f"`{SHA}`" in readme
    assert "org/tiny tuned with lora" in readme
    assert "base 26.40, tuned 18.12" in readme
    assert "- own: data/raw/a.csv (MIT)" in readme
    assert r'"content": "What is \"it\"? {x}"' in readme


@pytest.mark.parametrize(("method", "said"), [("qlora", True), ("int8", True), ("lora", False), ("full", False)])
def test_the_readme_says_that_the_base_was_quantised(method, said):
    provenance = MADE_FROM["provenance"] | {"method": method}
    readme = compose_texts(PackageFacts(**MADE_FROM | {"provenance": provenance}))["README.md"].decode()
    assert bool(re.search(r"measured on these weights rounded to [48] bits", readme)) == said


def test_the_readme_carries_the_claim_the_verdicts_and_the_gate_that_needs_no_other_run():
    readme = compose_texts(PackageFacts(**MADE_FROM))["README.md"].decode()
    for line in (
        "- The claim: **no gain**. No gain is claimed: it may be chance.",
        "- The diagnosis: **gibberish**. 52% of the words are strange.",
        "- The gate: `retention >= 0.95` **failed** (0.929).",
        "- The gate: `claims.test_loss.difference < 0` **passed** (-0.5).",
    ):
        assert f"\n{line}\n" in readme
    assert "main" not in readme


def test_a_healthy_run_says_that_no_fault_was_seen():
    healthy = MADE_FROM["metrics"] | {"diagnosis": {"verdicts": 0}}
    readme = compose_texts(PackageFacts(**MADE_FROM | {"metrics": healthy}))["README.md"].decode()
    assert "- The diagnosis: no fault was seen in the curves and answers." in readme


def test_the_terms_of_the_example_travel_with_the_example_alone():
    own = compose_texts(PackageFacts(**MADE_FROM))
    assert b"MITRE" not in own["NOTICE"] + own["README.md"]
    assert b"Data: tickets\n\n- own: data/raw/a.csv (MIT)\n" in own["NOTICE"]
    assert b"Names were replaced." in own["README.md"]
    example = compose_texts(PackageFacts(**MADE_FROM | {"about": AboutData(notice=True)}))
    assert example["NOTICE"] == b"CWE by MITRE\n"


def test_no_folder_of_this_machine_is_in_the_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = {"own": {"path": str(tmp_path / "data/raw/a.csv"), "licence": "MIT"}}
    made = compose_texts(PackageFacts(**MADE_FROM | {"params": MADE_FROM["params"] | {"sources": sources}}))
    assert b"- own: data/raw/a.csv (MIT)" in made["NOTICE"] and b"- own: data/raw/a.csv (MIT)" in made["README.md"]
    assert not any(str(tmp_path).encode() in text for text in made.values())


def test_a_package_without_a_licence_or_a_page_says_so():
    made = compose_texts(PackageFacts(**MADE_FROM | {
        "about": AboutData(), "params": MADE_FROM["params"] | {"sources": {"own": {"path": "data/raw/a.csv"}}},
    }))  # fmt: skip
    assert b"(no licence is stated)" in made["NOTICE"] and b"(no licence is stated)" in made["README.md"]
    assert b"Nobody has said whether the rows are about persons." in made["README.md"]


def test_the_lines_of_the_readme_are_python_and_need_only_what_requirements_names():
    made = compose_texts(PackageFacts(**MADE_FROM))
    lines = [line[4:] for line in made["README.md"].decode().splitlines() if line.startswith("    ")]
    assert lines.pop(0) == "pip install -r requirements.txt"
    compile("\n".join(lines), "README.md", "exec")
    assert 'dtype="bfloat16"' in "\n".join(lines)
    assert made["requirements.txt"] == b"peft==0.1\ntorch==2.0\n"


def test_the_question_of_the_readme_is_the_last_one_of_a_record_behind_its_system_message():
    turns = [("system", "You mend machines."), ("user", "It hums?"), ("assistant", "Oil it."), ("user", "It stops?")]
    messages = [{"role": role, "content": content} for role, content in [*turns, ("assistant", "Switch it on.")]]
    assert choose_chat({"messages": messages}, "Be brief.") == [messages[0], messages[3]]
    assert choose_chat({"messages": messages[1:]}, "Be brief.")[0] == {"role": "system", "content": "Be brief."}
    assert choose_chat({"messages": [{"role": "text", "content": "A page."}]}, None) == [
        {"role": "user", "content": "A page."}
    ]
