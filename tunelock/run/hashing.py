"""SHA-256 of files, folders and values: what ties an adapter to its base and a checkpoint to its run."""

import hashlib
import json
import re
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")  # of the hub; a revision of anything else is a sha256


def sha256_file(path: Path | str) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_value(value: object) -> str:
    """Hex digest of a JSON-serialisable value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_files(folder: Path | str) -> dict[str, str]:
    """Digest of each file below `folder`, keyed by its POSIX path relative to it, in sorted order.

    Python's bytecode caches are no content and are passed over.
    """
    folder = Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}


def sha256_path(path: Path | str) -> str:
    """Hex digest of a file, or of a folder's names and contents."""
    path = Path(path)
    return sha256_value(hash_files(path)) if path.is_dir() else sha256_file(path)
