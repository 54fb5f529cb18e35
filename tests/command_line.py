"""`tunelock` as a person runs it, in this process."""

from click.testing import Result
from typer.testing import CliRunner

from tunelock.commands.application import application


def run_tunelock(*arguments: object, input: str | None = None) -> Result:
    """What `tunelock ARGUMENTS` prints, and its exit code; an error that is no `Stop` and no usage is raised."""
    return CliRunner().invoke(
        application, [str(one) for one in arguments], input, prog_name="tunelock", catch_exceptions=False
    )
