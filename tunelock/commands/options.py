"""What several commands share: options of one meaning, paths as a person types them, and JSON."""

import json
import os
from collections.abc import Callable, Iterable
from glob import glob
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

STANDING = "TUNELOCK_FROM"  # the launcher puts the folder here in which the person stands, before it goes to the root


def resolve_path(text: str) -> Path:
    """A path that was typed, as it is called from the root of the repository, where every command runs.

    A path below the root becomes relative to it, any other absolute.
    """
    root = Path.cwd()
    absolute = Path(os.path.normpath(Path(os.environ.get(STANDING) or root, text)))
    return absolute.relative_to(root) if absolute.is_relative_to(root) else absolute


def resolve_source(text: str) -> str:
    """What names files (globs too), or something else, such as a URL: a file is looked for where the person stands."""
    path = resolve_path(text)
    return str(path) if path.exists() or glob(str(path)) else text


def choose_among(read_names: Callable[[], Iterable[str]]) -> dict[str, Any]:
    """Arguments of `typer.Option` for a choice of names; what has the names is imported only when they are needed."""

    def parse(text: str) -> str:
        names = list(read_names())
        if text not in names:
            raise typer.BadParameter(f"'{text}' is not among {', '.join(names)}")
        return text

    def complete(incomplete: str) -> list[str]:
        return [name for name in read_names() if name.startswith(incomplete)]

    return {"parser": parse, "autocompletion": complete, "metavar": "NAME"}


def print_json(value: object) -> None:
    """Print a value as JSON, keys sorted."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def _parse_columns(text: str) -> dict[str, str]:
    """The templates of `columns`, given as JSON."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"no JSON ({error})") from None
    if not isinstance(value, dict) or not all(isinstance(template, str) for template in value.values()):
        raise typer.BadParameter('give a mapping of texts, such as {"instruction": "{question}"}')
    from tunelock.schema.sources_params import Column

    unknown = sorted(value.keys() - get_args(Column))
    if unknown:
        raise typer.BadParameter(f"'{unknown[0]}' is not among {', '.join(get_args(Column))}")
    return value


def read_formats() -> list[str]:
    from tunelock.reading.formats import FORMATS

    return sorted(FORMATS)


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]

# What describes a source of raw data.
SourcePath = Annotated[
    str,
    typer.Argument(
        parser=resolve_source,
        metavar="PATH",
        help="A file, folder, glob, URL, hf://… or wheel:…",
    ),
]
Revision = Annotated[str | None, typer.Option(help="sha256 of a URL or wheel, commit of a hub dataset.")]
Format = Annotated[
    str | None, typer.Option(**choose_among(read_formats), help="Format of its rows; recognised if not given.")
]
Columns = Annotated[
    dict | None,
    typer.Option(parser=_parse_columns, metavar="JSON", help='Templates, such as \'{"instruction": "{question}"}\'.'),
]
Encoding = Annotated[str | None, typer.Option(help="Encoding of its text; recognised if not given.")]
Delimiter = Annotated[str | None, typer.Option(help="What stands between the columns of a CSV file.")]
