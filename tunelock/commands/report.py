"""`tunelock report`."""

import sys
from typing import Annotated

import typer

from tunelock.commands.options import Json, print_json


def report(
    table: Annotated[
        bool,
        typer.Option("--table", help="Print the result table; piped, it is Markdown."),
    ] = False,
    readme: Annotated[
        bool, typer.Option("--readme", help="Write four rows of it, the claim and two answers into README.md.")
    ] = False,
    base: Annotated[str, typer.Option(metavar="REVISION", help="What the gate compares with.")] = "main",
    as_json: Json = False,
) -> None:
    """Write report.html: claim, gate, charts, rows, params, hashes.

    Reads metrics/, models/evaluation/, params.yaml and dvc.lock. The page needs no network. --json goes with --table.

    Example: tunelock report --table
    """
    if as_json and not table:
        raise typer.BadParameter("goes with --table", param_hint="--json")
    if readme:
        _write_readme()
    if table:
        _print_table(as_json)
    if not table and not readme:
        _write_report_page(base)


def _write_report_page(base: str) -> None:
    from tunelock.pull_request.report_gate import view_gate
    from tunelock.report.evidence import ANSWER_FILES, read_evidence
    from tunelock.report.report_page import REPORT, build_report
    from tunelock.report.surroundings import describe_surroundings
    from tunelock.review.ticks import CHECKS, read_review
    from tunelock.run.files import write_text

    evidence, review = read_evidence(), read_review(ANSWER_FILES)
    write_text(REPORT, build_report(evidence, describe_surroundings(), view_gate(base), review, CHECKS))
    typer.echo(REPORT.resolve().as_uri())


def _print_table(as_json: bool) -> None:
    from rich.console import Console

    from tunelock.report.result_table import format_results, pick_results
    from tunelock.report.terminal_table import print_results
    from tunelock.run.files import read_json

    figures, claims = read_json("metrics/evaluate.json"), read_json("metrics/claims.json")
    if as_json:
        print_json(pick_results(figures, claims))
    elif sys.stdout.isatty():
        print_results(Console(), figures, claims)
    else:
        typer.echo(format_results(figures, claims))


def _write_readme() -> None:
    from pathlib import Path

    from tunelock.report.readme_results import format_readme_results, replace_results
    from tunelock.run.files import read_json, read_text, write_text

    figures, claims = read_json("metrics/evaluate.json"), read_json("metrics/claims.json")
    results = format_readme_results(figures, claims, read_text("metrics/samples.md"))
    write_text("README.md", replace_results(Path("README.md").read_text(encoding="utf-8"), results))
