"""What the first bytes of a file say it is, whatever its name says: a pointer to data elsewhere, or another format.

The marks are those of the formats' own specifications, as file(1) lists them.
"""

import re

from tunelock.run.errors import Stop

HEAD = 512  # bytes that are looked at; a pointer is whole within them, and a tar has its mark at 257
POINTERS = {  # files that stand for data which was not fetched, and the command that fetches it
    re.compile(rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/\S+\n(?:\S+ .*\n)*?oid "): (
        "a Git-LFS pointer", "git lfs pull",
    ),
    re.compile(rb"/?(?:\.git/)?annex/objects/\S+\s*\Z"): ("a git-annex pointer", "git annex get"),
    re.compile(rb"# xet version \S+\n"): ("a pointer of git-xet", "git xet checkout"),
}  # fmt: skip
PACKED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}  # what is unpacked wherever it stands
AS_TEXT = "save it as CSV in UTF-8"
KINDS = {  # no text begins so
    re.compile(rb"PAR1"): ("Parquet", "call it .parquet"),
    re.compile(rb"PK\x03\x04.{26,}(?:\[Content_Types\]\.xml|_rels/|docProps/|xl/|word/)", re.DOTALL): (
        "an Office document (Excel or Word)", f"{AS_TEXT}, or as .txt",
    ),
    re.compile(rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", re.DOTALL): ("an OpenDocument file", AS_TEXT),
    re.compile(rb"PK(?:\x03\x04|\x05\x06)"): ("a zip archive", "call it .zip"),
    re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"): ("an old Office document (Excel or Word)", AS_TEXT),
    re.compile(rb"%PDF-"): ("PDF", "extract its text (`pdftotext`) into a .txt"),
    re.compile(rb"\xfd7zXZ\0"): ("packed by xz", "unpack it (`xz -d`)"),
    re.compile(rb"BZh[1-9]1AY&SY"): ("packed by bzip2", "unpack it (`bunzip2`)"),
    re.compile(rb"\x04\x22\x4d\x18"): ("packed by lz4", "unpack it (`lz4 -d`)"),
    re.compile(rb"\xff\x06\0\0sNaPpY"): ("packed by Snappy", "unpack it"),
    re.compile(rb"7z\xbc\xaf\x27\x1c"): ("a 7-Zip archive", "unpack it (`7z x`)"),
    re.compile(rb"Rar!\x1a\x07"): ("a RAR archive", "unpack it (`unrar x`)"),
    re.compile(rb".{257}ustar", re.DOTALL): ("a tar archive", "unpack it (`tar -xf`)"),
    re.compile(rb"ARROW1\0\0"): ("an Arrow (Feather) file", "write it as Parquet"),
    re.compile(rb"\xff\xff\xff\xff..\0\0", re.DOTALL): ("an Arrow stream", "write it as Parquet"),
    re.compile(rb"Obj\x01"): ("Avro", "write it as Parquet or JSON lines"),
    re.compile(rb"ORC[\x00-\x1f]"): ("ORC", "write it as Parquet"),
    re.compile(rb"SQLite format 3\0"): ("an SQLite database", "write its table as CSV"),
    re.compile(rb"\x89HDF\r\n\x1a\n"): ("HDF5", "write its table as CSV or Parquet"),
    re.compile(rb"\x93NUMPY"): ("a NumPy array", "write it as JSON lines"),
    re.compile(rb"\x80[\x02-\x05]"): ("a Python pickle", "write it as JSON lines"),
    re.compile(rb"\x89PNG\r\n|GIF8[79]a|\xff\xd8\xff[\xdb\xe0-\xef]"): ("a picture", "remove it"),
    re.compile(rb"\{\\rtf1"): ("RTF", "save it as plain text"),
}  # fmt: skip
JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{\s*\"")
WEB_PAGE = re.compile(rb"\s*(?:<!doctype html|<html[\s>])", re.IGNORECASE)
CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1f]")
TABLES = (".csv", ".tsv")
PROSE = (".txt", ".md", ".xml")  # where a page of HTML may be what was meant


def refuse_pointer(head: bytes, name: str) -> None:
    """Stop at a file that only says where its data is."""
    for mark, (what, command) in POINTERS.items():
        if mark.match(head):
            raise Stop(f"{name} is {what}, not the data; fetch it with `{command}`.")


def find_packing(head: bytes) -> str | None:
    """.gz or .zst, if a file is packed so."""
    return next((packing for mark, packing in PACKED.items() if head.startswith(mark)), None)


def refuse_other_kind(head: bytes, suffix: str, name: str) -> None:
    """Stop at bytes that are none of `suffix`, and say what they are."""
    for mark, (what, advice) in KINDS.items():
        if mark.match(head) and (suffix, what) != (".parquet", "Parquet"):
            raise Stop(f"{name} is {what} under another name; {advice}.")
    if suffix in TABLES and JSON.match(head):
        raise Stop(f"{name} is JSON under another name; call it .jsonl or .json.")
    if suffix not in PROSE and WEB_PAGE.match(head):
        raise Stop(f"{name} is a web page (HTML), perhaps of a login or an error; fetch the file itself.")


def refuse_unpacked(head: bytes, packing: str, name: str) -> None:
    """Stop at text where something packed was to be."""
    if not CONTROLS.search(head):
        raise Stop(
            f"{name} is cut off or damaged, or was never packed: it begins as text. Drop {packing} from its name, or "
            "fetch it again."
        )
