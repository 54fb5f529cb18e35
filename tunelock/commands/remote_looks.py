"""`tunelock remote status | watch | logs | doctor`: what looks and changes nothing."""

from typing import Annotated

import typer

from tunelock.commands.options import Json, print_json
from tunelock.commands.remote_options import HostName, OneJob, OnHost, SomeJobs, say_at_interrupt

_GO_ON = "Jobs go on; `tunelock remote cancel JOB` ends one."


def show_status(
    jobs: SomeJobs = None,
    host: OnHost = None,
    all_: Annotated[bool, typer.Option("--all", help="Older ended jobs too.")] = False,
    as_json: Json = False,
) -> None:
    """Show how the jobs stand, on one host or on all.

    A host that does not answer is a line of the table; the exit code is 1 then.

    Example: tunelock remote status
    """
    from tunelock.remote.job_hosts import group_jobs
    from tunelock.remote.watch import ask_hosts

    views = ask_hosts(group_jobs(jobs or [], host))
    if as_json:
        faults = [{"host": view.host, "fault": view.fault} for view in views if view.fault]
        found = [job._asdict() for view in views for job in view.jobs]
        print_json([*found, *faults])
    else:
        from tunelock.remote.job_table import leave_out_old, print_jobs

        shown = leave_out_old(views) if not (all_ or jobs) else None
        print_jobs(shown.views if shown else views)
        if shown and shown.left_out:
            typer.echo(f"{shown.left_out} older jobs that ended are not shown; `tunelock remote status --all` does.")
    raise typer.Exit(any(view.fault for view in views))


def watch(jobs: SomeJobs = None, host: OnHost = None) -> None:
    """Show a table of jobs that changes until all of them ended.

    In a pipe it is a line for each change. The exit code is 1 if a job failed. To stop looking stops no job.

    Example: tunelock remote watch
    """
    from tunelock.remote.job_hosts import group_jobs
    from tunelock.remote.job_table import describe_end, has_failed, show_live
    from tunelock.remote.watch import watch_jobs

    wanted = group_jobs(jobs or [], host)
    with say_at_interrupt(_GO_ON):
        ended = show_live(lambda show: watch_jobs(wanted, show))
    for job in ended:
        typer.echo(describe_end(job))
    if not ended:
        typer.echo("No job runs or waits; `tunelock remote status` shows those that ended.")
    raise typer.Exit(any(has_failed(job) for job in ended))


def show_log(
    job: OneJob,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job ends.")] = False,
    lines: Annotated[
        int | None, typer.Option("-l", "--lines", metavar="N", min=1, help="The last N lines alone.")
    ] = None,
    host: OnHost = None,
) -> None:
    """Show what a job says. To stop looking stops no job.

    Example: tunelock remote logs -f lr64
    """
    import sys

    from tunelock.remote.connection import connect
    from tunelock.remote.job_hosts import find_host_of
    from tunelock.remote.log_text import join_bars

    with say_at_interrupt(_GO_ON if follow else ""), connect(find_host_of([job], host)) as connection:
        pieces = connection.read_log(job, follow, lines)
        for piece in pieces if sys.stdout.isatty() else join_bars(pieces):
            typer.echo(piece, nl=False)


def doctor(
    host: HostName,
    install: Annotated[bool, typer.Option("--install", help="Make the environment there now, ahead of a job.")] = False,
    as_json: Json = False,
) -> None:
    """Check whether a host is ready for jobs, and say what to do where it is not.

    The exit code is 1 if something is wrong.

    Example: tunelock remote doctor box
    """
    import shutil
    import sys

    from tunelock.remote.host_checks import check_host, describe_checked
    from tunelock.remote.hosts import find_host

    found, width = [], shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    for checked in check_host(find_host(host), install, lambda line: typer.echo(line, err=True)):
        found.append(checked)
        if not as_json:
            typer.echo(describe_checked(checked, width))
    if as_json:
        print_json([checked._asdict() for checked in found])
    raise typer.Exit(any(checked.level == "wrong" for checked in found))
