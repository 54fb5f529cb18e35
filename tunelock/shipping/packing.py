"""A package is a .tar.gz with the SHA256SUMS of its files; the same files give the same bytes."""

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple, cast

from tunelock.run.errors import Stop
from tunelock.run.files import whole_file

SUMS = "SHA256SUMS"


def pack_files(files: dict[str, bytes], archive: Path) -> None:
    """Write files and their SHA256SUMS as .tar.gz with sorted names and a fixed owner and time."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    with whole_file(archive) as out, gzip.GzipFile("", "wb", 9, out, mtime=mtime) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in sorted({**files, SUMS: sums.encode()}.items()):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(data), mtime, 0o644
                tar.addfile(info, io.BytesIO(data))


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
    """The members of an archive, each read to its end."""
    with tarfile.open(archive, "r:gz") as tar:
        members = tar.getmembers()
        digests = {}
        for member in members:
            if member.isfile():
                digests[member.name] = hashlib.file_digest(
                    cast(io.BufferedReader, tar.extractfile(member)), "sha256"
                ).hexdigest()
        names = [member.name for member in members]
        odd = [member.name for member in members if not member.isfile() or "/" in member.name]
        sums = tar.extractfile(SUMS).read(2**20).decode() if SUMS in digests else None
    return _Contents(names, odd, digests, sums)
