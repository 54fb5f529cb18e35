"""`tunelock preview`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelock.commands.options import (
    Columns,
    Delimiter,
    Encoding,
    Format,
    Json,
    Revision,
    SourcePath,
    print_json,
    resolve_path,
)
from tunelock.run.errors import Stop


def preview(
    path: SourcePath,
    revision: Revision = None,
    format: Format = None,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    model: Annotated[Path, typer.Option(parser=resolve_path, metavar="FOLDER", help="Where the tokenizer is.")] = Path(
        "models/base"
    ),
    tokens: Annotated[bool, typer.Option("--tokens", help="One token a line.")] = False,
    as_json: Json = False,
) -> None:
    """Show what raw data becomes: format, records, tokens, loss mask.

    Reads at most 10,000 rows and shows three records; what the model learns from stands between ⟦ and ⟧.

    Example: tunelock preview data/raw/faq.csv --columns '{"instruction": "{question}", "response": "{reply}"}'
    """
    from dataclasses import asdict

    from tunelock.previewing.source_preview import format_preview, make_source, preview_source
    from tunelock.rendering.rendering import Rendering, load_tokenizer
    from tunelock.run.params import load_yaml

    source = make_source(path, revision, format=format, columns=columns, encoding=encoding, delimiter=delimiter)
    tokenizer = load_tokenizer(str(model)) if (model / "tokenizer.json").exists() else None
    found = preview_source(source, tokenizer, Rendering.from_params(load_yaml("params.yaml")), tokens)
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo(format_preview(found))
    if not found.records:
        raise Stop(f"no row of {path} becomes a record; `--columns` names its columns, `--format` its format.")
    if tokenizer is None:
        said = f"\n{model} has no tokenizer; `dvc repro base` makes it, and the tokens will be shown too."
        typer.echo(said, err=True)
