"""Have people compare the answers, blinded, and count what they ticked.

    python -m tunelock.commands.review                      # writes review.html; --rows 50 for more than 30 rows
    python -m tunelock.commands.review count review.json # what the page's button downloaded, into metrics/review.json

Reads models/evaluation/{base,tuned}.jsonl. No stage of the DAG: people take part in it. The page needs no network; it
keeps the ticks in the browser until they are downloaded. Which side is whose is nowhere in it (see
`tunelock.review.blinding`).
"""

import argparse
from pathlib import Path

from tunelock.report.evidence import ANSWER_FILES, read_pairs
from tunelock.report.page import render
from tunelock.review.blinding import blind_rows, digest_answers, sample_answered
from tunelock.review.ticks import CHECKS, FORMAT, MAX_NOTE, METRICS, count_ticks, read_ticks
from tunelock.run.errors import Stop
from tunelock.run.files import write_json, write_text
from tunelock.run.stage import plain_errors

PAGE = Path("review.html")
SAID = (
    "Of {review_rows} rows the tuned answer was preferred in {review_wins_tuned}, the base's in {review_wins_base}, "
    "{review_ties} ties (sign test, p = {review_p:.3g})."
)


def review(size: int) -> str:
    """The page for `size` rows."""
    digest = digest_answers(ANSWER_FILES)
    rows = blind_rows(sample_answered(read_pairs(), size, digest), digest)
    if not rows:
        raise Stop("no row has an answer of both models; set max_predict_samples above 0 and run `dvc repro`.")
    return render(
        "review.html.jinja", "review.js", rows=rows, pair=digest, checks=CHECKS, format=FORMAT, max_note=MAX_NOTE
    )


def count(path: Path) -> dict:
    """The metrics of a downloaded file (see `tunelock.review.ticks.count_ticks`)."""
    digest = digest_answers(ANSWER_FILES)
    answered = (pair.base["id"] for pair in read_pairs() if pair.is_answered)
    return count_ticks(read_ticks(path, digest, answered), digest)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line; write the page, or count."""
    parser = argparse.ArgumentParser(
        prog="python -m tunelock.commands.review", description="Compare the answers, blinded."
    )
    parser.add_argument("--rows", type=int, default=30, help="rows to compare, default 30")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("count", help="count the ticks of a downloaded file").add_argument("file", type=Path)
    given = parser.parse_args(arguments)
    with plain_errors("review"):
        if given.command == "count":
            found = count(given.file)
            write_json(METRICS, found)
            print(SAID.format(**found))
            return
        if given.rows < 1:
            raise Stop(f"--rows is {given.rows}; give 1 or more.")
        write_text(PAGE, review(given.rows))
        print(PAGE.resolve().as_uri())


if __name__ == "__main__":
    main()
