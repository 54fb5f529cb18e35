"""`tunelock verify`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelock.commands.options import Json, print_json, resolve_path
from tunelock.run.errors import Stop


def verify(
    archive: Annotated[Path, typer.Argument(parser=resolve_path, metavar="FILE", help="The package.")],
    as_json: Json = False,
) -> None:
    """Check that a package is as it was packed.

    Names every file in it that was changed, was added or is missing.

    Example: tunelock verify models/tunelock-adapter.tar.gz
    """
    from tunelock.shipping.packing import verify_package

    wrong = verify_package(archive)
    if as_json:
        print_json({"file": str(archive), "problems": wrong})
        raise typer.Exit(1 if wrong else 0)
    if wrong:
        raise Stop(f"{archive} is not as it was packed:\n" + "\n".join(f"  {problem}" for problem in wrong))
    typer.echo(f"{archive}: every file is as it was packed")
