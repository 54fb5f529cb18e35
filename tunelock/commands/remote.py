"""`tunelock remote`."""

from typing import Annotated

import typer

from tunelock.commands.options import Json, print_json
from tunelock.commands.remote_looks import doctor, show_log, show_status, watch
from tunelock.commands.remote_options import HostName, Jobs, OnHost, say_at_interrupt
from tunelock.commands.remote_verdict import verdict

_LEFT = "What arrived there stays for the next time; `tunelock remote status` says whether a job was started."
remote = typer.Typer(
    name="remote",
    no_args_is_help=True,
    help="""Run experiments on other machines.

    remote.yaml names the machines. What runs there is your workspace as it is; what comes back is an experiment of DVC.

    Example: tunelock remote submit here -n lr64 -S lora_r=64
    """,
)


@remote.command("submit")
def _submit(
    host: HostName,
    name: Annotated[
        str | None, typer.Option("-n", "--name", help="Name of the experiment; one is made up if not given.")
    ] = None,
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
    from tunelock.remote.job_hosts import note_jobs
    from tunelock.remote.screens import describe_submission
    from tunelock.remote.submit import Wish, make_up_name, submit
    from tunelock.run.bars import show_bytes

    settings, where = load_hosts(), find_host(host)
    wish = Wish(name or make_up_name(), change or [])
    with say_at_interrupt(_LEFT), show_bytes("send") as seen:
        done = submit(where, wish, settings.allow, settings.max_file_mb, seen)
    note_jobs(host, done.jobs)
    print_json(done._asdict()) if as_json else typer.echo(describe_submission(host, done))


remote.command("status")(show_status)
remote.command()(watch)
remote.command("logs")(show_log)


@remote.command("cancel")
def _cancel(jobs: Jobs, host: OnHost = None) -> None:
    """End jobs, and all that they started.

    Example: tunelock remote cancel lr64
    """
    from tunelock.remote.connection import connect
    from tunelock.remote.job_hosts import group_jobs

    for wanted in group_jobs(jobs, host):
        with connect(wanted.host) as connection:
            ended = connection.ask("cancel", jobs=wanted.jobs)
        for job in ended:
            typer.echo(f"{job} is cancelled.")
        if not ended:
            typer.echo(f"{', '.join(wanted.jobs)}: ended already.")


@remote.command("resume")
def _resume(jobs: Jobs, host: OnHost = None) -> None:
    """Start jobs again that were stopped or failed; they go on from their checkpoint.

    Time, memory and what else a job asks for are those that remote.yaml has now.

    Example: tunelock remote resume lr64
    """
    from tunelock.remote.connection import connect
    from tunelock.remote.job_hosts import find_host_of
    from tunelock.remote.orders import describe_resources, read_environment

    where = find_host_of(jobs, host)
    with connect(where) as connection:
        told = connection.ask("resume", jobs=jobs, environment=read_environment(where), host=describe_resources(where))
        for job in told["jobs"]:
            typer.echo(f"{job} is started again.")


@remote.command("pull")
def _pull(jobs: Jobs, host: OnHost = None, as_json: Json = False) -> None:
    """Fetch finished jobs; each becomes an experiment of DVC.

    Example: tunelock remote pull lr64 && dvc exp show
    """
    from tunelock.remote.job_hosts import group_jobs
    from tunelock.remote.pull import pull
    from tunelock.remote.screens import describe_pulled
    from tunelock.run.bars import show_bytes

    found = []
    for wanted in group_jobs(jobs, host):
        with say_at_interrupt("What came stays; the same command goes on from there."), show_bytes("fetch") as seen:
            found += pull(wanted.host, wanted.jobs, seen)
    print_json([one._asdict() for one in found]) if as_json else typer.echo(describe_pulled(found))


remote.command()(doctor)
remote.command()(verdict)
