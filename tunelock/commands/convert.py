"""`tunelock convert`."""

import os
import sys
from typing import Annotated

import typer

from tunelock.commands.options import (
    Columns,
    Delimiter,
    Encoding,
    Format,
    Revision,
    SourcePath,
    choose_among,
    read_formats,
)


def convert(
    path: SourcePath,
    to: Annotated[str, typer.Option(**choose_among(read_formats), help="Format to write.")],
    revision: Revision = None,
    format: Format = None,
    columns: Columns = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
) -> None:
    """Write raw data in another format, as JSON lines on stdout.

    Says on stderr how many rows were left out, and why.

    Example: tunelock convert data/raw/chats.jsonl --to sharegpt > sharegpt.jsonl
    """
    from tunelock.previewing.conversion import convert_rows
    from tunelock.previewing.source_preview import make_source

    source = make_source(path, revision, format=format, columns=columns, encoding=encoding, delimiter=delimiter)
    try:
        left_out = convert_rows(source, to, sys.stdout.buffer)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if left_out:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        typer.echo(f"left out: {counts}", err=True)
