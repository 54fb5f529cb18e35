"""`tunelock seeds`."""

from typing import Annotated

import typer

from tunelock.commands.options import Json, print_json


def seeds(
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name in metrics/*.json; repeat it for more.")
    ] = None,
    all_commits: Annotated[
        bool, typer.Option("--all-commits", help="Experiments of every commit, not of this one alone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how much of a result is the seed.

    Groups the runs that share all params but the seed, and gives mean, spread (the sample's standard deviation) and
    range of each metric, and the spread beside the effect, base - tuned.

    Example: dvc exp run --queue -S 'seed=1,2,3,4' && dvc queue start && tunelock seeds
    """
    from tunelock.pull_request.lock import list_stale
    from tunelock.pull_request.markdown import escape_unprintable
    from tunelock.pull_request.seed_report import list_default_metrics, report_seeds, tabulate_seeds
    from tunelock.pull_request.seed_spread import list_runs
    from tunelock.run.revisions import run_dvc_json

    stale = list_stale()
    remarks = []
    if stale:
        remarks.append(
            f"The workspace is not counted: {escape_unprintable(stale[0])}, so its metrics are of another run."
        )
    shown = run_dvc_json("exp", "show", *(["--all-commits"] if all_commits else []))
    runs, metrics = list_runs(shown, workspace=not stale), metric or list_default_metrics()
    if as_json:
        print_json(tabulate_seeds(runs, metrics, remarks))
    else:
        typer.echo(report_seeds(runs, metrics, remarks))
