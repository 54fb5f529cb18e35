"""The page in which people compare the answers, blinded; which side is whose is nowhere in it."""

from pathlib import Path

from tunelock.report.evidence import ANSWER_FILES, read_pairs
from tunelock.report.page import render_page
from tunelock.review.blinding import blind_rows, digest_answers, sample_answered
from tunelock.review.ticks import CHECKS, FORMAT, MAX_NOTE, count_ticks, read_ticks
from tunelock.run.errors import Stop

REVIEW = Path("review.html")


def build_review(size: int) -> str:
    """The page for `size` rows."""
    digest = digest_answers(ANSWER_FILES)
    rows = blind_rows(sample_answered(read_pairs(), size, digest), digest)
    if not rows:
        raise Stop("no row has an answer of both models; set max_predict_samples above 0 and run `dvc repro`.")
    return render_page(
        "review.html.jinja", "review.js", rows=rows, pair=digest, checks=CHECKS, format=FORMAT, max_note=MAX_NOTE
    )


def count_review(path: Path) -> dict:
    """The metrics of a downloaded file (see `tunelock.review.ticks.count_ticks`)."""
    digest = digest_answers(ANSWER_FILES)
    answered = (pair.base["id"] for pair in read_pairs() if pair.is_answered)
    return count_ticks(read_ticks(path, digest, answered), digest)
