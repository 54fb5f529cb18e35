"""Where objects may be stored: a folder that both machines see, or a bucket of S3."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Any, Protocol

from tunelock.remote.there.refusal import Refused

Seen = Callable[[int], None]


class Store(Protocol):
    """A place with objects by their path below a cache."""

    def find_absent(self, paths: list[str]) -> list[str]:
        """Those of the paths that are not there."""

    def put(self, paths: list[str], cache: Path, seen: Seen) -> None:
        """Take objects of the cache; each is there whole or not at all."""

    def get(self, paths: list[str], targets: list[Path], seen: Seen) -> None:
        """Write the objects to the targets."""


class _Folder:
    """A folder that both machines see."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find_absent(self, paths: list[str]) -> list[str]:
        return [path for path in paths if not (self.root / path).is_file()]

    def put(self, paths: list[str], cache: Path, seen: Seen) -> None:
        for path in paths:
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
            try:
                shutil.copyfile(cache / path, partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            seen(target.stat().st_size)

    def get(self, paths: list[str], targets: list[Path], seen: Seen) -> None:
        for path, target in zip(paths, targets):
            shutil.copyfile(self.root / path, target)
            seen(target.stat().st_size)


class _Bucket:
    """A bucket of S3 through DVC's file system, which many objects pass at once."""

    def __init__(self, fs: Any, root: str) -> None:
        self.fs, self.root = fs, root

    def find_absent(self, paths: list[str]) -> list[str]:
        there = self.fs.exists([self._name(path) for path in paths]) if paths else []
        if not any(there):  # perhaps there is no bucket, of which `exists` says nothing
            bucket, _, prefix = self.root.partition("/")
            self.fs.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
        return list(compress(paths, (not one for one in there)))

    def put(self, paths: list[str], cache: Path, seen: Seen) -> None:
        from dvc_objects.fs import generic, localfs

        sources = [str(cache / path) for path in paths]
        generic.copy(localfs, sources, self.fs, [self._name(path) for path in paths], callback=_count_pieces(seen))

    def get(self, paths: list[str], targets: list[Path], seen: Seen) -> None:
        from dvc_objects.fs import generic, localfs

        names = [self._name(path) for path in paths]
        generic.copy(self.fs, names, localfs, [str(target) for target in targets], callback=_count_pieces(seen))

    def _name(self, path: str) -> str:
        return f"{self.root}/{path}"


def _count_pieces(seen: Seen) -> Any:
    """A callback of fsspec that tells the bytes of each piece."""
    from fsspec.callbacks import Callback

    class _Pieces(Callback):
        def branched(self, path_1: str, path_2: str, **kwargs: Any) -> Callback:
            return _Piece()

    class _Piece(Callback):
        def relative_update(self, inc: int = 1) -> None:
            seen(inc)

    return _Pieces()


@contextmanager
def open_store(url: str) -> Iterator[Store]:
    """The storage; what goes wrong with it is told in a sentence."""
    try:
        yield _Bucket(*_open_bucket(url)) if url.startswith("s3://") else _open_folder(url)
    except (ImportError, OSError) as error:
        raise Refused(_explain(url, error)) from None
    except Exception as error:  # botocore's have no base in the standard library
        if type(error).__module__.partition(".")[0] not in ("aiobotocore", "botocore"):
            raise
        raise Refused(_explain(url, error)) from None


def _open_folder(url: str) -> _Folder:
    if not Path(url).is_dir():
        raise Refused(f"{url}: there is no such folder here; mount it, or set another `storage` in remote.yaml.")
    return _Folder(Path(url))


def _open_bucket(url: str) -> tuple[Any, str]:
    import dvc_s3  # noqa: F401  # here DVC would raise an error of its own
    from dvc.fs import parse_external_url

    return parse_external_url(url, config={})


def _explain(url: str, error: Exception) -> str:
    """What is wrong with a storage, and what to do."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return f"{error.filename or url}: {os.strerror(error.errno)}; free some room."
    if isinstance(error, ImportError):
        return f"{url}: dvc-s3 is not installed here; install the extra `s3` of pyproject.toml."
    if url.startswith("/"):
        return f"{url}: {getattr(error, 'strerror', None) or error}; mend that, or set another `storage`."
    return f"{url}: {_explain_bucket(url.removeprefix('s3://').split('/')[0], error)}"


def _explain_bucket(bucket: str, error: Exception) -> str:
    kind, reason = type(error).__name__, (str(error).splitlines() or [""])[0].rstrip(".")
    if kind in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return (
            f"{reason} here; `aws configure`, or set AWS_PROFILE. A host gets what its `environment` in remote.yaml "
            "names, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if isinstance(error, FileNotFoundError):
        return f"there is no bucket '{bucket}'; make it (`aws s3 mb s3://{bucket}`), or mend `storage`."
    if isinstance(error, PermissionError):
        return f"S3 says no ({reason}); look at the rights of your key for the bucket '{bucket}'."
    return f"S3 could not be used ({reason or kind}); look at AWS_ENDPOINT_URL, the region and the network."
