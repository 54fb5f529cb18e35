"""`tunelock` as a person runs it, in this process."""

import re

from click.testing import Result
from typer.testing import CliRunner

from tunelock.commands.application import application


def run_tunelock(*arguments: object, input: str | None = None) -> Result:
    """What `tunelock ARGUMENTS` prints, and its exit code; an error that is no `Stop` and no usage is raised."""
    return CliRunner().invoke(
        application, [str(one) for one in arguments], input, prog_name="tunelock", catch_exceptions=False
    )


def unwrapped(printed: str) -> str:
    """A help text or an error of usage on one line, without the frames around it."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", printed).split())
