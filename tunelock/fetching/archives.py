"""Archives and compressed files from elsewhere: read as streams, refused when hostile, damaged or a bomb."""

import errno
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from tunelock.run.bars import Bar
from tunelock.run.errors import Stop

MAX_MEMBER_BYTES = 64 * 2**30  # the largest published GGUF files stay below this
MAX_RATIO = 200  # text compresses about tenfold, repetitive JSONL fiftyfold; beyond this it is a decompression bomb
SMALL = 2**13  # bytes; what is packed smaller counts as this much, so that nothing below 1.6 MB is a bomb
ZST_BLOCK = 2**11  # packed bytes at a time: at Zstandard's worst they become 64 MiB, so a bomb cannot fill the memory
ZST_WINDOW = 2**27  # bytes of look-back, as far as `zstd --long` goes
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error, NotImplementedError, ValueError)


class _Guarded(io.RawIOBase):
    """The bytes that `blocks` yields, as a file; `Stop` where they break off or become too many."""

    def __init__(self, blocks: Iterator[bytes], source: IO[bytes], name: str, packed: int):
        self.blocks, self.source, self.name, self.packed = blocks, source, name, packed
        self.rest: bytes | memoryview = b""
        self.seen = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if not self.rest:
            self.rest = memoryview(self.next_block())
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size

    def next_block(self) -> bytes:
        with _stop_at_damage(f"{self.name} is cut off or damaged"):
            block = next(filter(None, self.blocks), b"")
        self.seen += len(block)
        _refuse_bomb(self.name, self.packed, self.seen)
        return block

    def close(self) -> None:
        self.source.close()
        super().close()


@contextmanager
def _stop_at_damage(words: str):
    """Turn what the decompressors raise at damaged files into a `Stop` that begins with `words`."""
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk's fault, not the file's
            raise
        raise Stop(f"{words} ({error}); fetch it again.") from None


def _refuse_bomb(name: str, packed: int, unpacked: int) -> None:
    """Stop if `packed` bytes become more than any text does."""
    if unpacked > min(MAX_MEMBER_BYTES, MAX_RATIO * max(packed, SMALL)):
        raise Stop(f"{name} unpacks to {unpacked} bytes or more out of {packed}; it is a bomb, do not use it.")


def read_blocks(source: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    """The content of a file, a little at a time."""
    while block := source.read(2**18):
        yield block


def _read_zst_blocks(source: BinaryIO) -> Iterator[bytes]:
    """The content of Zstandard frames. `stream_reader` would take a frame that is cut off for a whole one."""
    import zstandard

    frame = None
    while data := source.read(ZST_BLOCK):
        while data:
            frame = frame or zstandard.ZstdDecompressor(max_window_size=ZST_WINDOW).decompressobj()
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                raise EOFError(error) from None
            frame, data = (None, frame.unused_data) if frame.eof else (frame, b"")
    if frame:
        raise EOFError("its last frame does not end")


def unpack_stream(source: BinaryIO, packing: str, name: str, packed: int) -> io.BufferedReader:
    """The decompressed stream of a `.gz` or `.zst` stream of `packed` bytes; `name` is for the messages."""
    blocks = _read_zst_blocks(source) if packing == ".zst" else read_blocks(gzip.GzipFile(fileobj=source))
    stream: io.BufferedReader = io.BufferedReader(_Guarded(blocks, source, name, packed))
    if not stream.peek(1):
        stream.close()
        raise Stop(f"{name} is empty; remove it or fetch it again.")
    return stream


def open_archive(path: Path, name: str) -> zipfile.ZipFile:
    """Open a zip or wheel; `Stop`, calling it `name`, if it is damaged or hostile."""
    kind = "wheel" if path.suffix == ".whl" else "zip"
    with _stop_at_damage(f"{name} is no readable {kind} but cut off or damaged"):
        archive = zipfile.ZipFile(path)
    refuse_hostile(archive, name)
    return archive


def refuse_hostile(archive: zipfile.ZipFile, name: str) -> None:
    """Stop at paths that leave the archive, links, colliding names, passwords, and decompression bombs."""
    seen = set()
    if sum(info.compress_size for info in archive.infolist()) > archive.start_dir:
        raise Stop(f"{name}: its members overlap; it is a bomb, do not use it.")
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in path.parts[0]:
            raise Stop(f"{name}: member '{info.filename}' points outside the archive; do not use this file.")
        if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000, 0o040000):
            raise Stop(f"{name}: member '{info.filename}' is a link or a device; do not use this file.")
        if path.as_posix().casefold() in seen:
            raise Stop(f"{name}: member '{info.filename}' is there twice; do not use this file.")
        if info.flag_bits & 0x1:
            raise Stop(f"{name}: member '{info.filename}' needs a password; pack the files again without one.")
        seen.add(path.as_posix().casefold())
        _refuse_bomb(f"{name}: member '{info.filename}'", info.compress_size, info.file_size)


def open_member(path: Path, member: str) -> BinaryIO:
    """Open one file of the zip or wheel at `path` for reading.

    Raises:
        Stop: the archive is damaged or hostile, or has no such member; or, on reading, the member is damaged.
    """
    archive = open_archive(path, path.name)
    return stream_member(archive, find_member(archive, member, path.name), path.name)


def find_member(archive: zipfile.ZipFile, member: str, name: str) -> zipfile.ZipInfo:
    """The entry of a member; `Stop` if there is none."""
    try:
        return archive.getinfo(member)
    except KeyError:
        raise Stop(f"{name} has no member '{member}'; list its members with `unzip -l`.") from None


def stream_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> BinaryIO:
    """Open one member of an archive, which messages call `name`."""
    name = f"{name}: member '{info.filename}'"
    with _stop_at_damage(f"{name} is cut off or damaged, or packed in a way that Python cannot read"):
        source = archive.open(info)
    return io.BufferedReader(_Guarded(read_blocks(source), source, name, info.compress_size))


def extract_member(path: Path, member: str, folder: Path) -> Path:
    """Copy one member of a zip or wheel into `folder` under its last name, with a progress bar."""
    target = folder / PurePosixPath(member).name
    with open_member(path, member) as source, open(target, "wb") as out:
        size = find_member(open_archive(path, path.name), member, path.name).file_size
        with Bar(total=size, unit="B", desc=f"unpack {target.name}") as bar:
            for block in read_blocks(source):
                out.write(block)
                bar.update(len(block))
    return target
