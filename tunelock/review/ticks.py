"""What people ticked in the review page, read as input that nobody vouches for, and counted by model."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import TypedDict

from tunelock.review.blinding import SIDES, digest_answers, find_other_side, find_tuned_side
from tunelock.run.errors import Stop
from tunelock.run.files import read_json

FORMAT = "tunelock-review-1"
METRICS = Path("metrics/review.json")
MAX_BYTES = 5_000_000
MAX_NOTE = 2000  # characters; the page allows no more
CHECKS = {  # a tick means that it holds
    "instructions": "Follows the instructions",
    "tone": "Tone fits",
    "facts": "Facts are right",
    "length": "Length fits",
    "no_hallucination": "Nothing is made up",
    "edge_cases": "Edge cases are handled",
}
PREFERENCES = (*SIDES, "tie")


class _Ticks(TypedDict):
    """What a person said about a row: a side, a tie or nothing yet; notes; and the CHECKS that each answer passed."""

    preference: str | None
    notes: str
    a: list[str]
    b: list[str]


def read_ticks(path: Path | str, digest: str, ids: Iterable[str]) -> dict[str, _Ticks]:
    """The ticks of a downloaded review.json by row, of those rows that have a preference.

    Args:
        path: the file.
        digest: `digest_answers` of the answer files that are to be counted.
        ids: the rows that have answers there.

    Raises:
        Stop: the file is none of ours, is of other answers, or has a row, field or value that the page does not write.
    """
    found = _parse_json(path)
    if not isinstance(found, dict) or set(found) != {"format", "answers", "rows"} or found["format"] != FORMAT:
        raise Stop(f"{path} is not a file of the review page's button ({FORMAT}); download it from there again.")
    if found["answers"] != digest:
        raise Stop(
            f"{path} is about answers {str(found['answers'])[:12]!r}, models/evaluation holds {digest[:12]!r}; check "
            "out the commit that was reviewed, or review these with `tunelock review`."
        )
    if not isinstance(found["rows"], dict):
        raise Stop(f"{path}: `rows` is not an object; download it from the page again.")
    known = set(ids)
    for row_id, ticks in found["rows"].items():
        fault = "no row with answers has this id" if row_id not in known else _find_fault(ticks)
        if fault:
            raise Stop(f"{path}: row {row_id[:60]!r}: {fault}; download the file from the page again.")
    return {row_id: ticks for row_id, ticks in found["rows"].items() if ticks["preference"]}


def _parse_json(path: Path | str) -> object:
    """The JSON of a small file in UTF-8 that has no key twice and no number that JSON does not know."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Stop(
            f"{path} cannot be read ({error.strerror}); give the file that the page's button downloaded."
        ) from None
    if len(data) > MAX_BYTES:
        raise Stop(f"{path} is larger than {MAX_BYTES:,} bytes, as no review is; give the file of the page's button.")
    try:
        return json.loads(data.decode(), object_pairs_hook=_refuse_double_keys, parse_constant=_refuse_non_finite)
    except (ValueError, RecursionError) as error:
        raise Stop(f"{path} is not JSON ({str(error)[:80]}); download it from the page again.") from None


def _refuse_double_keys(items: list[tuple[str, object]]) -> dict:
    """An object whose keys are all different."""
    if len(dict(items)) != len(items):
        raise ValueError("a key stands twice")
    return dict(items)


def _refuse_non_finite(constant: str) -> None:
    """NaN and Infinity are not JSON."""
    raise ValueError(f"{constant} is no number of JSON")


def _find_fault(ticks: object) -> str | None:
    """What is wrong with the ticks of one row, or None."""
    if not isinstance(ticks, dict) or set(ticks) != _Ticks.__required_keys__:
        return f"expected the fields {', '.join(sorted(_Ticks.__required_keys__))}"
    if ticks["preference"] is not None and ticks["preference"] not in PREFERENCES:
        return f"the preference is {str(ticks['preference'])[:20]!r} and not one of {', '.join(PREFERENCES)}"
    if not isinstance(ticks["notes"], str) or len(ticks["notes"]) > MAX_NOTE:
        return f"notes are not a text of at most {MAX_NOTE} characters"
    for side in SIDES:
        checks = ticks[side]
        if not isinstance(checks, list) or any(not isinstance(check, str) or check not in CHECKS for check in checks):
            return f"{side} holds something else than {', '.join(CHECKS)}"
        if len(set(checks)) != len(checks):
            return f"{side} has a check twice"
    return None


def count_ticks(ticks: dict[str, _Ticks], digest: str) -> dict[str, float | int | str]:
    """metrics/review.json: wins, ties, the sign test between them, and the share of each model's answers by check.

    Args:
        ticks: what `read_ticks` returns.
        digest: `digest_answers` of the answer files.

    Raises:
        Stop: no row has a preference.
    """
    from scipy.stats import binomtest

    if not ticks:
        raise Stop("no row has a preference yet; choose A, tie or B for some and download the file again.")
    wins, passed = Counter(), Counter()
    for row_id, given in ticks.items():
        tuned_side = find_tuned_side(digest, row_id)
        for model, side in (("base", find_other_side(tuned_side)), ("tuned", tuned_side)):
            wins[model] += given["preference"] == side
            passed.update(f"review_{check}_{model}" for check in given[side])
    decided = wins.total()
    keys = [f"review_{check}_{model}" for check, model in product(CHECKS, ("base", "tuned"))]
    return {
        "review_rows": len(ticks),
        "review_wins_tuned": wins["tuned"],
        "review_wins_base": wins["base"],
        "review_ties": len(ticks) - decided,
        "review_p": _six_digits(binomtest(wins["tuned"], decided).pvalue) if decided else 1.0,
        "review_answers": digest[:12],
        **{key: _six_digits(passed[key] / len(ticks)) for key in keys},
    }


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def read_review(files: tuple[str, ...]) -> dict | None:
    """metrics/review.json if it is about these answer files; None where there is none, or one of other answers."""
    if not METRICS.exists():
        return None
    review = read_json(METRICS)
    return review if review.get("review_answers") == digest_answers(files)[:12] else None
