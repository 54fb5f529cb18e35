"""Members of pinned wheels: downloaded by exact version, checked by SHA-256, read as archives, never installed."""

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from stages.lib.errors import Stop
from stages.lib.hashing import sha256_file

WHEEL_URI = re.compile(r"wheel:(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_]+)/(?P<member>.+)")
MAX_MEMBER_BYTES = 64 * 2**30  # the largest published GGUF files stay below this
MAX_RATIO = 200  # text compresses about tenfold; beyond this a member is a decompression bomb


class WheelMember(NamedTuple):
    """A file inside a wheel of the package index: `wheel:NAME==VERSION/PATH/IN/WHEEL`."""

    requirement: str
    member: str


def parse_wheel_uri(uri: str) -> WheelMember:
    """Split `wheel:NAME==VERSION/MEMBER`; `Stop` if it has another form."""
    match = WHEEL_URI.fullmatch(uri)
    if not match:
        raise Stop(f"'{uri}' is no wheel address; write wheel:NAME==VERSION/PATH/IN/WHEEL.")
    return WheelMember(f"{match['name']}=={match['version']}", match["member"])


def cache_folder() -> Path:
    """Where fetched wheels are kept, named by their SHA-256: `$TUNELOCK_CACHE` or `~/.cache/tunelock`."""
    return Path(os.environ.get("TUNELOCK_CACHE") or Path.home() / ".cache" / "tunelock")


def fetch_wheel(requirement: str, sha256: str) -> Path:
    """Return the path of the wheel `requirement` (`NAME==VERSION`) whose bytes have the digest `sha256`.

    The wheel comes out of the cache if it is there and whole (no network is used then), otherwise from
    the package index that pip is set up for. A download that breaks off or has another digest leaves
    nothing behind.

    Raises:
        Stop: pip cannot get it, or the digest differs.
    """
    folder = cache_folder() / sha256
    for cached in folder.glob("*.whl"):
        if sha256_file(cached) == sha256:
            return cached
        cached.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as partial:
        wheel = download(requirement, Path(partial))
        found = sha256_file(wheel)
        if found != sha256:
            raise Stop(
                f"{requirement} from the package index has sha256 {found}, params.yaml pins {sha256}; "
                "it was removed. Correct the pin only if you trust the new file."
            )
        os.replace(wheel, folder / wheel.name)
    return folder / wheel.name


def download(requirement: str, folder: Path) -> Path:
    """Have pip put the wheel of `requirement`, without its dependencies, into `folder`."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    result = subprocess.run([*pip, "--dest", str(folder), requirement], stdout=sys.stderr, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        raise Stop(f"pip could not download {requirement} (exit {result.returncode}); see its message above.")
    return wheels[0]


def open_member(wheel: Path, member: str) -> BinaryIO:
    """Open one file of a wheel for reading.

    Raises:
        Stop: the archive is damaged or hostile, or has no such member.
    """
    try:
        archive = zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise Stop(f"{wheel.name} is no readable wheel ({error}); delete it and run again.") from None
    refuse_hostile(archive, wheel.name)
    try:
        return archive.open(member)
    except KeyError:
        raise Stop(f"{wheel.name} has no member '{member}'; list its members with `unzip -l`.") from None


def refuse_hostile(archive: zipfile.ZipFile, name: str) -> None:
    """Stop at paths that leave the archive, links, colliding names, and decompression bombs."""
    seen = set()
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in path.parts[0]:
            raise Stop(f"{name}: member '{info.filename}' points outside the archive; do not use this file.")
        if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000, 0o040000):
            raise Stop(f"{name}: member '{info.filename}' is a link or a device; do not use this file.")
        if path.as_posix().casefold() in seen:
            raise Stop(f"{name}: member '{info.filename}' is there twice; do not use this file.")
        seen.add(path.as_posix().casefold())
        if info.file_size > MAX_MEMBER_BYTES or info.file_size > MAX_RATIO * max(info.compress_size, 2**10):
            raise Stop(f"{name}: member '{info.filename}' unpacks to {info.file_size} bytes; it is a bomb.")


def extract_member(wheel: Path, member: str, folder: Path) -> Path:
    """Copy one member of a wheel into `folder` under its last name, with a progress bar."""
    target = folder / PurePosixPath(member).name
    with open_member(wheel, member) as source, open(target, "wb") as out:
        size = zipfile.ZipFile(wheel).getinfo(member).file_size
        with tqdm(total=size, unit="B", unit_scale=True, desc=f"unpack {target.name}") as bar:
            while block := source.read(2**22):
                out.write(block)
                bar.update(len(block))
    return target
