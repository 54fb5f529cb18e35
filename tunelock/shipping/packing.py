"""A package is a .tar.gz with the SHA256SUMS of its files; the same files give the same bytes.

Files are read and written in pieces: the weights of a whole model may be larger than the memory.
"""

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from tunelock.run.errors import Stop
from tunelock.run.files import whole_file
from tunelock.run.hashing import sha256_file

SUMS = "SHA256SUMS"
MOST_SUMS = 2**20  # bytes of SHA256SUMS that are read
USTAR_LIMIT = 8**11 - 1  # bytes; the size of a member has eleven octal digits in a USTAR header


def pack_files(files: Mapping[str, bytes | Path], archive: Path) -> None:
    """Write files, each its bytes or where it lies, and their SHA256SUMS as .tar.gz with sorted names and a fixed owner
    and time."""
    sums = "".join(f"{_hash_member(content)}  {name}\n" for name, content in sorted(files.items()))
    mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    with whole_file(archive) as out, gzip.GzipFile("", "wb", 9, out, mtime=mtime) as zipped:
        with tarfile.open(fileobj=zipped, mode="w") as tar:
            for name, content in sorted({**files, SUMS: sums.encode()}.items()):
                with _open_member(content) as data:
                    info = tarfile.TarInfo(name)
                    info.size, info.mtime, info.mode = data.seek(0, io.SEEK_END), mtime, 0o644
                    data.seek(0)
                    tar.format = choose_format(info.size)
                    tar.addfile(info, data)


def choose_format(size: int) -> Literal[0, 1]:
    """The oldest form of tar that holds a member of `size` bytes."""
    return tarfile.USTAR_FORMAT if size <= USTAR_LIMIT else tarfile.GNU_FORMAT


def _open_member(content: bytes | Path) -> IO[bytes]:
    return io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb")


def _hash_member(content: bytes | Path) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_file(content)


class _Contents(NamedTuple):
    """What an archive holds: its members' names, those that are no plain file, a digest by name, its SHA256SUMS."""

    names: list[str]
    odd: list[str]
    digests: dict[str, str]
    sums: str | None


def verify_package(archive: Path) -> list[str]:
    """What is wrong with a package, a sentence each; empty if it is as it was packed.

    Raises:
        Stop: it is no readable package.
    """
    try:
        found = _read_contents(archive)
    except (OSError, EOFError, tarfile.TarError, ValueError, zlib.error) as error:
        raise Stop(f"{archive} is no readable package ({error}); fetch it again.") from None
    if found.sums is None:
        raise Stop(f"{archive} has no {SUMS}; it was not made by the stage `package`.")
    wanted = {}
    for line in found.sums.splitlines():
        digest, gap, name = line.partition("  ")
        if gap:
            wanted[name] = digest
    digests = {name: digest for name, digest in found.digests.items() if name != SUMS}
    changed = {name for name in digests.keys() & wanted.keys() if digests[name] != wanted[name]}
    twice = {name for name, count in Counter(found.names).items() if count > 1}
    return [
        *(f"{name}: is not a plain file" for name in found.odd),
        *(f"{name}: is there twice" for name in sorted(twice)),
        *(f"{name}: was changed" for name in sorted(changed)),
        *(f"{name}: is missing" for name in sorted(wanted.keys() - digests.keys())),
        *(f"{name}: was added" for name in sorted(digests.keys() - wanted.keys())),
    ]


def _read_contents(archive: Path) -> _Contents:
    """The members of an archive, all of it read once from its start to its end."""
    found = _Contents([], [], {}, None)
    with gzip.open(archive) as unzipped:
        with tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                found.names.append(member.name)
                if not member.isfile() or "/" in member.name:
                    found.odd.append(member.name)
                if not member.isfile():
                    continue
                data = cast(io.BufferedReader, tar.extractfile(member))
                if member.name == SUMS:
                    found = found._replace(sums=data.read(MOST_SUMS).decode())
                found.digests[member.name] = hashlib.file_digest(data, "sha256").hexdigest()
        while unzipped.read(2**20):  # gzip's own checksum stands at the end
            pass
    return found
