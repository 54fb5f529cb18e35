"""`tunelock review` and `tunelock review count`."""

from pathlib import Path
from typing import Annotated

import typer

from tunelock.commands.options import Json, print_json, resolve_path

review = typer.Typer(name="review")
SENTENCE = (
    "Of {review_rows} rows the tuned answer was preferred in {review_wins_tuned}, the base's in {review_wins_base}, "
    "{review_ties} ties (sign test, p = {review_p:.3g})."
)


@review.callback(invoke_without_command=True)
def _write_page(
    context: typer.Context, rows: Annotated[int, typer.Option(min=1, help="How many rows to compare.")] = 30
) -> None:
    """Write review.html, where people compare answers, blinded.

    The page keeps what they tick in the browser until it is downloaded, and needs no network. Which answer is whose is
    nowhere in it; `tunelock review count` finds out.

    Example: tunelock review --rows 50
    """
    if context.invoked_subcommand:
        return
    from tunelock.review.review_page import REVIEW, build_review
    from tunelock.run.files import write_text

    write_text(REVIEW, build_review(rows))
    typer.echo(REVIEW.resolve().as_uri())


@review.command()
def count(
    file: Annotated[Path, typer.Argument(parser=resolve_path, metavar="FILE", help="What the page's button gave.")],
    as_json: Json = False,
) -> None:
    """Count what people ticked, into metrics/review.json.

    Example: tunelock review count ~/Downloads/review.json
    """
    from tunelock.review.review_page import count_review
    from tunelock.review.ticks import METRICS
    from tunelock.run.files import write_json

    found = count_review(file)
    write_json(METRICS, found)
    if as_json:
        print_json(found)
    else:
        typer.echo(SENTENCE.format(**found))
