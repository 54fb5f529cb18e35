"""`tunelock remote verdict`."""

from typing import Annotated, Any

import typer

from tunelock.commands.options import Json, print_json
from tunelock.commands.remote_options import SomeHost, say_at_interrupt

_LEFT = (
    "The run goes on; the same command waits for it again. `tunelock remote status` names its job, which `cancel` ends."
)


def verdict(
    experiment: Annotated[
        str, typer.Argument(metavar="EXP", help="An experiment; a branch, tag or commit with its dvc.lock.")
    ],
    host: SomeHost = None,
    repeats: Annotated[
        int, typer.Option(min=0, help="Make it so many times more, to measure what noise is on that hardware.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Make a locked experiment again and say whether it is the same.

    Every stage runs, from its commit alone, with an empty cache. The answer is identical, within measured noise or
    different (exit code 1), with the first stage that diverges and what differs between the machines.

    Example: tunelock remote verdict lr64 box
    """
    from rich.console import Console

    from tunelock.remote.making_again import choose_host, find_experiment, make_again
    from tunelock.remote.repeats import keep_repeat, read_repeats
    from tunelock.remote.run_comparison import DIFFERENT, compare_runs
    from tunelock.remote.run_record import read_run
    from tunelock.remote.verdict_screen import format_verdict, print_verdict
    from tunelock.run.bars import show_bytes

    where, commit = choose_host(host), find_experiment(experiment)
    theirs = again = read_run(commit)
    if not theirs.edited:  # else the answer is known before anything runs
        for _ in range(repeats + 1):
            with say_at_interrupt(_LEFT), show_bytes("send") as seen:
                again = read_run(make_again(where, commit, seen, _Progress().show))
            earlier = read_repeats(again)
            keep_repeat(again)
    else:
        earlier = []
    found = compare_runs(theirs, again, earlier)
    print_json(format_verdict(found)) if as_json else print_verdict(Console(), found)
    raise typer.Exit(1 if found.word == DIFFERENT else 0)


class _Progress:
    """A line on stderr for each stage that begins there."""

    def __init__(self) -> None:
        self.last = ""

    def show(self, state: dict[str, Any]) -> None:
        """Say what changed since the last look."""
        line = f"{state['state']}: {state['stage']}" if state.get("stage") else state["state"]
        if line != self.last:
            typer.echo(line, err=True)
            self.last = line
