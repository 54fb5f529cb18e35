"""What several commands share: options of one meaning, and paths as a person types them."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

STANDING = "TUNELOCK_FROM"  # the launcher puts the folder here in which the person stands, before it goes to the root

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def resolve_path(text: str) -> Path:
    """A path that was typed, as it is called from the root of the repository, where every command runs.

    A path below the root becomes relative to it, any other absolute.
    """
    root = Path.cwd()
    absolute = Path(os.path.normpath(Path(os.environ.get(STANDING) or root, text)))
    return absolute.relative_to(root) if absolute.is_relative_to(root) else absolute


def resolve_source(text: str) -> str:
    """What names a file, or something else, such as a URL: a file is looked for from where the person stands."""
    path = resolve_path(text)
    return str(path) if path.exists() else text


def print_json(value: object) -> None:
    """Print a value as JSON, keys sorted."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
