"""`tunelock remote`."""

from typing import Annotated

import typer

from tunelock.commands.options import Json, print_json

remote = typer.Typer(
    name="remote",
    no_args_is_help=True,
    help="""Run experiments on other machines.

    remote.yaml names the machines. What runs there is your workspace as it is; what comes back is an experiment of DVC.

    Example: tunelock remote submit here -n lr64 -S lora_r=64
    """,
)


def _read_hosts() -> list[str]:
    from tunelock.remote.hosts import load_hosts

    return list(load_hosts().hosts)


HostName = Annotated[str, typer.Argument(metavar="HOST", autocompletion=lambda: _read_hosts(), help="A host of remote.yaml.")]
Jobs = Annotated[list[str], typer.Argument(metavar="JOB", help="Ids of jobs, or names of experiments or sweeps.")]
OnHost = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Where the jobs are; found if not given.")]


@remote.command("submit")
def submit_(
    host: HostName,
    name: Annotated[str | None, typer.Option("-n", "--name", help="Name of the experiment; one is made up if not given.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("-S", "--set-param", metavar="KEY=VALUE", help="As of `dvc exp run`; `a=1,2` is a sweep."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send the workspace as it is and run an experiment there.

    What runs are your files as they are, uncommitted changes included; your branch and index stay untouched.

    Example: tunelock remote submit box -n lr64 -S lora_r=64
    """
    from tunelock.remote.hosts import find_host, load_hosts
    from tunelock.remote.registry import note_jobs
    from tunelock.remote.screens import describe_submission
    from tunelock.remote.submit import Wish, submit, suggest_name
    from tunelock.run.bars import show_bytes

    settings, where = load_hosts(), find_host(host)
    wish = Wish(name or suggest_name(), change or [])
    with show_bytes("send") as seen:
        done = submit(where, wish, settings.allow, settings.max_file_mb, seen)
    note_jobs(host, done.jobs)
    print_json(done._asdict()) if as_json else typer.echo(describe_submission(host, done))


@remote.command()
def status(
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Jobs; all if not given.")] = None,
    host: OnHost = None,
    as_json: Json = False,
) -> None:
    """Show how the jobs stand, on one host or on all.

    Example: tunelock remote status
    """
    from rich.console import Console

    from tunelock.remote.hosts import find_host
    from tunelock.remote.screens import tabulate_jobs
    from tunelock.remote.watch import ask_hosts

    rows = ask_hosts([find_host(name) for name in ([host] if host else _read_hosts())], jobs)
    if as_json:
        print_json([{"host": name, **job} for name, job in rows])
    else:
        Console().print(tabulate_jobs(rows))


@remote.command()
def logs(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job ends.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", help="The last lines alone.")] = None,
    host: OnHost = None,
) -> None:
    """Show what a job says.

    Example: tunelock remote logs -f lr64
    """
    from tunelock.remote.connection import connect
    from tunelock.remote.registry import find_host_of

    with connect(find_host_of([job], host)) as connection:
        for piece in connection.read_log(job, follow, lines):
            typer.echo(piece, nl=False)


@remote.command()
def cancel(jobs: Jobs, host: OnHost = None) -> None:
    """End jobs, and all that they started.

    Example: tunelock remote cancel lr64
    """
    from tunelock.remote.connection import connect
    from tunelock.remote.registry import find_host_of

    with connect(find_host_of(jobs, host)) as connection:
        for job in connection.ask("cancel", jobs=jobs):
            typer.echo(f"{job} is cancelled.")


@remote.command()
def resume(jobs: Jobs, host: OnHost = None) -> None:
    """Start jobs again that were stopped or failed; they go on from their checkpoint.

    Example: tunelock remote resume lr64
    """
    from tunelock.remote.connection import connect
    from tunelock.remote.registry import find_host_of
    from tunelock.remote.orders import read_environment

    where = find_host_of(jobs, host)
    with connect(where) as connection:
        for job in connection.ask("resume", jobs=jobs, environment=read_environment(where))["jobs"]:
            typer.echo(f"{job} is started again.")


@remote.command("pull")
def pull_(jobs: Jobs, host: OnHost = None, as_json: Json = False) -> None:
    """Fetch finished jobs; each becomes an experiment of DVC.

    Example: tunelock remote pull lr64 && dvc exp show
    """
    from tunelock.remote.pull import pull
    from tunelock.remote.registry import find_host_of
    from tunelock.remote.screens import describe_pulled
    from tunelock.run.bars import show_bytes

    where = find_host_of(jobs, host)
    with show_bytes("fetch") as seen:
        found = pull(where, jobs, seen)
    print_json([one._asdict() for one in found]) if as_json else typer.echo(describe_pulled(where.name, found))
