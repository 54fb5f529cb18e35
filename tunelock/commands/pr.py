"""`tunelock pr comment` and `tunelock pr gate`."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from tunelock.commands.options import Json, print_json, resolve_path
from tunelock.run.errors import Stop

pr = typer.Typer(
    name="pr",
    no_args_is_help=True,
    help="""Compare a pull request with its base: a comment, a gate.

    Compares params.yaml, dvc.lock and metrics/ of the working tree with those that git has of BASE. Neither data nor
    DVC's cache is needed.

    Example: tunelock pr gate main
    """,
)
Base = Annotated[str, typer.Argument(metavar="BASE", help="Git revision to compare with.")]


@pr.command()
def comment(
    base: Base = "main",
    out: Annotated[
        Path | None,
        typer.Option(parser=resolve_path, metavar="FOLDER", help="Where to; comment/ in the repository if not given."),
    ] = None,
    charts_at: Annotated[
        str | None, typer.Option(metavar="URL", help="Link to the charts there instead of showing them.")
    ] = None,
) -> None:
    """Write comment.md and its charts.

    Example: tunelock pr comment origin/main --out /tmp/comment
    """
    from tunelock.pull_request.comment_files import write_comment
    from tunelock.pull_request.lock import refuse_tracked_cache
    from tunelock.pull_request.two_commits import compare_with_base

    refuse_tracked_cache()
    folder = out or Path("comment")
    charts = write_comment(compare_with_base(base), folder, charts_at)
    attached = "".join(f" --attach {name}" for name in charts)
    typer.echo(f"{folder / 'comment.md'}; `cd {folder} && gh pr comment --body-file comment.md{attached}` posts it")


_UsageError = typer.BadParameter.__mro__[1]  # Typer has no name of its own for it


class _GateCommand(TyperCommand):
    """A command line that cannot be read ends as what cannot be checked does, not as what is undecided."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        from tunelock.pull_request.thresholds import NOT_CHECKED

        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            error.exit_code = NOT_CHECKED
            raise


@pr.command(cls=_GateCommand)
def gate(base: Base = "main", as_json: Json = False) -> None:
    """Check the rules under `gate` in params.yaml.

    Also checks that dvc.lock and metrics/ come from this code and its params. Exit code 0 if all passed, 1 if a check
    failed, 2 if none failed but one could not be decided (other test rows, too few groups), 3 if nothing was checked
    (no such revision, a file is missing).

    Example: tunelock pr gate main || echo "not yet"
    """
    from tunelock.pull_request.gate import check_gate, note_changed_rules
    from tunelock.pull_request.lock import refuse_tracked_cache
    from tunelock.pull_request.thresholds import EXIT, NOT_CHECKED, judge_gate
    from tunelock.pull_request.two_commits import compare_with_base

    try:
        refuse_tracked_cache()
        found = compare_with_base(base)
        lines = check_gate(found)
        remarks = list(filter(None, (note_changed_rules(found), found.rows.unpaired_because)))
    except Stop as stop:
        typer.echo(f"tunelock pr gate: {stop}", err=True)
        raise typer.Exit(NOT_CHECKED) from None
    if as_json:
        print_json({"outcome": judge_gate(lines), "checks": [line._asdict() for line in lines], "remarks": remarks})
    else:
        for line in lines:
            typer.echo(_format_check(line, base))
        for remark in remarks:
            typer.echo(f"note      {remark}")
    raise typer.Exit(EXIT[judge_gate(lines)])


def _format_check(line, base: str) -> str:
    """One check in one line: result, metric and value, rule, the value at BASE, what is known of the noise."""
    from tunelock.pull_request.markdown import escape_unprintable, format_six_digits

    measured = f"{line.metric} {format_six_digits(line.value)}" if line.value is not None else line.metric
    before = f" ({line.owner or base}: {format_six_digits(line.base)})" if line.base is not None else ""
    return f"{line.result:10}{escape_unprintable(measured)} {line.rule}{before}{'; ' if line.note else ''}{line.note}"
