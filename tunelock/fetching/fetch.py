"""What comes from elsewhere: wheels and URLs pinned by SHA-256, hub datasets by commit; kept, never installed."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunelock.fetching.web import download_url, redact_url
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop
from tunelock.run.hashing import COMMIT, sha256_file

WHEEL_URI = re.compile(r"wheel:(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_]+)/(?P<member>.+)")
SHA256 = re.compile(r"[0-9a-f]{64}")


class _WheelMember(NamedTuple):
    """A file inside a wheel of the package index: `wheel:NAME==VERSION/PATH/IN/WHEEL`."""

    requirement: str
    member: str


def parse_wheel_uri(uri: str) -> _WheelMember:
    """Split `wheel:NAME==VERSION/MEMBER`; `Stop` if it has another form."""
    match = WHEEL_URI.fullmatch(uri)
    if not match:
        raise Stop(f"'{uri}' is no wheel address; write wheel:NAME==VERSION/PATH/IN/WHEEL.")
    return _WheelMember(f"{match['name']}=={match['version']}", match["member"])


def cache_folder() -> Path:
    """Where fetched files are kept, named by their SHA-256: `$TUNELOCK_CACHE` or `~/.cache/tunelock`."""
    return Path(os.environ.get("TUNELOCK_CACHE") or Path.home() / ".cache" / "tunelock")


def fetch_wheel(requirement: str, sha256: str) -> Path:
    """The path of the wheel `requirement` (`NAME==VERSION`) whose bytes have the digest `sha256`.

    It comes out of the cache, or else from the package index that pip is set up for; `Stop` if pip cannot get it.
    """
    return _fetch_pinned(
        "*.whl", f"{requirement} from the package index", sha256, lambda folder: download_wheel(requirement, folder)
    )


def fetch_url(url: str, sha256: str) -> Path:
    """The path of the file at `url` (http or https) whose bytes have the digest `sha256`.

    It comes out of the cache, or else from the server; `Stop` if that cannot be reached or gives something else.
    """
    return _fetch_pinned("content", redact_url(url), sha256, lambda folder: download_url(url, folder))


def _fetch_pinned(pattern: str, what: str, sha256: str, get: Callable[[Path], Path]) -> Path:
    """The file `pattern` in the cache, which `get(folder)` fetches if it is not there whole; a fault leaves nothing."""
    if not SHA256.fullmatch(sha256 or ""):
        raise Stop(f"{what}: its pin is '{sha256}', which is no sha256; give the 64 hexadecimal digits of its bytes.")
    folder = cache_folder() / sha256
    for cached in folder.glob(pattern):
        if sha256_file(cached) == sha256:
            return cached
        cached.unlink()
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="partial-") as partial:
        file = get(Path(partial))
        found = sha256_file(file)
        if found != sha256:
            page = "the server answered with a web page, not with the file; check the address"
            advice = page if _is_page(file) else "correct the pin only if you trust the new file"
            raise Stop(f"{what} has sha256 {found}, params.yaml pins {sha256}; it was removed: {advice}.")
        folder.mkdir(exist_ok=True)
        os.replace(file, folder / file.name)
    return folder / file.name


def _is_page(file: Path) -> bool:
    """Whether a file begins like an HTML page."""
    with open(file, "rb") as content:
        return (
            content.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html"))
        )


def download_wheel(requirement: str, folder: Path) -> Path:
    """Have pip put the wheel of `requirement`, without its dependencies, into `folder`; pip shows errors alone."""
    print(f"fetch {requirement} from the package index", file=sys.stderr, flush=True)
    options = ["-qq", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    pip = [sys.executable, "-m", "pip", "download", *options, requirement]
    result = subprocess.run(pip, stdout=sys.stderr, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        raise Stop(f"pip could not download {requirement} (exit {result.returncode}); see its message above.")
    return wheels[0]


def fetch_hub_dataset(repo_id: str, revision: str, patterns: list[str]) -> Path:
    """The folder with those files of a hub dataset that match `patterns`, at one commit, kept in the hub's cache."""
    if not COMMIT.fullmatch(revision or ""):
        raise Stop(f"the revision of '{repo_id}' is '{revision}'; a hub dataset needs its 40-digit commit, no branch.")
    import huggingface_hub.errors as hub
    from huggingface_hub import snapshot_download

    wanted = {"repo_type": "dataset", "revision": revision, "allow_patterns": patterns}
    try:
        return Path(snapshot_download(repo_id, **wanted, tqdm_class=Bar))
    except hub.GatedRepoError:
        raise Stop(f"dataset '{repo_id}' is gated: accept its terms on the hub and run `hf auth login`.") from None
    except hub.RepositoryNotFoundError:
        raise Stop(f"the hub has no dataset '{repo_id}', or it is private: run `hf auth login`.") from None
    except hub.RevisionNotFoundError:
        raise Stop(f"dataset '{repo_id}' has no commit {revision}; take one from its history on the hub.") from None
    except hub.LocalEntryNotFoundError:
        advice = "is not in its cache; go online once"
        raise Stop(f"the hub cannot be reached and '{repo_id}' at {revision} {advice}.") from None
    except hub.HFValidationError:
        raise Stop(f"'{repo_id}' is no name of a hub dataset; write hf://datasets/ORG/NAME.") from None
    except (hub.HTTPError, hub.OfflineModeIsEnabled) as error:
        fault = type(error).__name__
        raise Stop(f"the hub could not give '{repo_id}' at {revision} ({fault}); run it again.") from None
