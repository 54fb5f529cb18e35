"""What the commands of `tunelock remote` share: hosts and jobs as a person names them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

_INTERRUPTED = 130  # exit code after ^C, as shells have it


def _list_hosts(incomplete: str) -> list[str]:
    from tunelock.remote.hosts import load_hosts

    return [name for name in load_hosts().hosts if name.startswith(incomplete)]


def _list_noted_jobs(incomplete: str) -> list[str]:
    from tunelock.remote.job_hosts import read_noted_jobs

    return [job for job in read_noted_jobs() if job.startswith(incomplete)]


_WHICH = "Ids of jobs, or names of experiments or sweeps"
HostName = Annotated[str, typer.Argument(metavar="HOST", autocompletion=_list_hosts, help="A host of remote.yaml.")]
SomeHost = Annotated[
    str | None,
    typer.Argument(metavar="HOST", autocompletion=_list_hosts, help="A host of remote.yaml; here if not given."),
]
Jobs = Annotated[list[str], typer.Argument(metavar="JOB", autocompletion=_list_noted_jobs, help=f"{_WHICH}.")]
SomeJobs = Annotated[
    list[str] | None,
    typer.Argument(metavar="JOB", autocompletion=_list_noted_jobs, help=f"{_WHICH}; all if not given."),
]
OneJob = Annotated[
    str, typer.Argument(metavar="JOB", autocompletion=_list_noted_jobs, help="Id of a job, or name of its experiment.")
]
OnHost = Annotated[
    str | None,
    typer.Option(metavar="HOST", autocompletion=_list_hosts, help="Where the jobs are; found if not given."),
]


@contextmanager
def say_at_interrupt(sentence: str) -> Iterator[None]:
    """At ^C say what becomes of what was begun."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\n{sentence}" if sentence else "", err=True)
        raise typer.Exit(_INTERRUPTED) from None
