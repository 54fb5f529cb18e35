"""What people ticked in the review page, read as input that nobody vouches for, and counted by model."""

import json
from collections.abc import Iterable
from pathlib import Path

from tunelock.review.blinding import SIDES, pair_digest, tuned_side
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
FIELDS = {"preference", "notes", *SIDES}


def read_ticks(path: Path | str, pair: str, ids: Iterable[str]) -> dict[str, dict]:
    """The rows of a downloaded review.json that have a preference: preference, notes, and a and b, lists of CHECKS.

    Args:
        path: the file.
        pair: `pair_digest` of the answer files that are to be counted.
        ids: the rows that have answers there.

    Raises:
        Stop: the file is none of ours, is of other answers, or has a row, field or value that the page does not write.
    """
    found = parsed(path)
    if not isinstance(found, dict) or set(found) != {"format", "answers", "rows"} or found["format"] != FORMAT:
        raise Stop(f"{path} is not a file of the review page's button ({FORMAT}); download it from there again.")
    if found["answers"] != pair:
        raise Stop(
            f"{path} is about answers {str(found['answers'])[:12]!r}, models/evaluation holds {pair[:12]!r}; check out "
            "the commit that was reviewed, or review these with `python -m tunelock.commands.review`."
        )
    if not isinstance(found["rows"], dict):
        raise Stop(f"{path}: `rows` is not an object; download it from the page again.")
    known = set(ids)
    for row_id, ticks in found["rows"].items():
        fault = "no row with answers has this id" if row_id not in known else tick_fault(ticks)
        if fault:
            raise Stop(f"{path}: row {row_id[:60]!r}: {fault}; download the file from the page again.")
    return {row_id: ticks for row_id, ticks in found["rows"].items() if ticks["preference"]}


def parsed(path: Path | str) -> object:
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
        return json.loads(data.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Stop(f"{path} is not JSON ({str(error)[:80]}); download it from the page again.") from None


def once(items: list[tuple[str, object]]) -> dict:
    """An object whose keys are all different."""
    if len(dict(items)) != len(items):
        raise ValueError("a key stands twice")
    return dict(items)


def refuse(constant: str) -> None:
    """NaN and Infinity are not JSON."""
    raise ValueError(f"{constant} is no number of JSON")


def tick_fault(ticks: object) -> str | None:
    """What is wrong with the ticks of one row, or None."""
    if not isinstance(ticks, dict) or set(ticks) != FIELDS:
        return f"expected the fields {', '.join(sorted(FIELDS))}"
    if ticks["preference"] is not None and ticks["preference"] not in PREFERENCES:
        return f"the preference is {str(ticks['preference'])[:20]!r} and not one of {', '.join(PREFERENCES)}"
    if not isinstance(ticks["notes"], str) or len(ticks["notes"]) > MAX_NOTE:
        return f"notes are not a text of at most {MAX_NOTE} characters"
    for side in SIDES:
        given = ticks[side]
        if not isinstance(given, list) or any(not isinstance(c, str) or c not in CHECKS for c in given):
            return f"{side} holds something else than {', '.join(CHECKS)}"
        if len(set(given)) != len(given):
            return f"{side} has a check twice"
    return None


def counted(ticks: dict[str, dict], pair: str) -> dict:
    """metrics/review.json: wins, ties, the sign test between them, and the share of each model's answers by check.

    Args:
        ticks: what `read_ticks` returns.
        pair: `pair_digest` of the answer files.

    Raises:
        Stop: no row has a preference.
    """
    from scipy.stats import binomtest

    if not ticks:
        raise Stop("no row has a preference yet; choose A, tie or B for some and download the file again.")
    sides = {row_id: {"tuned": tuned_side(pair, row_id)} for row_id in ticks}
    for of in sides.values():
        of["base"] = SIDES[1 - SIDES.index(of["tuned"])]
    wins = {
        model: sum(ticks[row_id]["preference"] == of[model] for row_id, of in sides.items())
        for model in ("base", "tuned")
    }
    decided = sum(wins.values())
    shares = {
        f"review_{check}_{model}": sum(check in ticks[row_id][of[model]] for row_id, of in sides.items()) / len(ticks)
        for check in CHECKS for model in ("base", "tuned")
    }  # fmt: skip
    return {
        "review_rows": len(ticks),
        "review_wins_tuned": wins["tuned"],
        "review_wins_base": wins["base"],
        "review_ties": len(ticks) - decided,
        "review_p": float(f"{binomtest(wins['tuned'], decided).pvalue:.6g}") if decided else 1.0,
        "review_answers": pair[:12],
        **{key: float(f"{value:.6g}") for key, value in shares.items()},
    }


def review_of(files: tuple[str, str]) -> dict | None:
    """metrics/review.json if it is about these answer files; None where there is none, or one of other answers."""
    if not METRICS.exists():
        return None
    review = read_json(METRICS)
    return review if review.get("review_answers") == pair_digest(files)[:12] else None
