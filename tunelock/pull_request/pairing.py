"""Two commits row by row: the tuned model of one against that of the other, by metrics/scores.csv of both."""

import csv
import io
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tunelock.run.errors import Stop

if TYPE_CHECKING:
    from tunelock.claims.uncertainty import Interval  # brings SciPy, which a missing revision need not wait for

LOWER_IS_BETTER = {"loss"}
# metric: the column of the tuned model, and whether its sum is divided by the tokens rather than the rows
SCORES = {
    "loss": ("loss_tuned", True),
    "contrast": ("contrast_tuned", False),
    "rouge_l": ("rouge_l_tuned", False),
    "token_f1": ("token_f1_tuned", False),
    "accuracy": ("right_tuned", False),
}
ON_TOKENS = ("loss", "contrast")  # mean something only where both commits cut a row into the same tokens
COLUMNS = {"id", "split", "group", "tokens", *(column for column, _ in SCORES.values())}


class Pairs(NamedTuple):
    """Rows that both commits scored, as (at BASE, here), and how many rows there are that have no partner."""

    rows: list[tuple[dict, dict]]
    only_base: int
    only_here: int
    other_tokens: int


class Comparison(NamedTuple):
    """One metric of a split. interval: base is BASE's tuned model, tuned is this commit's; p is Holm's."""

    split: str
    metric: str
    interval: "Interval"
    rows: int
    p: float | None
    verdict: str


def read_scores(text: str, where: str) -> dict[tuple[str, str], dict]:
    """The rows of a scores.csv by split and id; `Stop` if a column is missing or an id stands twice."""
    reader = csv.DictReader(io.StringIO(text))
    missing = sorted(COLUMNS - set(reader.fieldnames or []))
    if missing:
        raise Stop(f"{where}: has no column '{missing[0]}'; run `dvc repro judge` there to make the file again.")
    rows = {}
    for row in reader:
        if None in row.values() or (row["split"], row["id"]) in rows or not row["split"].isidentifier():
            what = f"row '{row['id'][:40]}' is cut short, stands twice or has no split"
            raise Stop(f"{where}:{reader.line_num}: {what}; run `dvc repro judge` there to make the file again.")
        rows[row["split"], row["id"]] = row
    return rows


def pair(base: dict[tuple, dict], here: dict[tuple, dict]) -> Pairs:
    """The rows of both, in this commit's order."""
    rows = [(base[key], row) for key, row in here.items() if key in base]
    other = sum(before["tokens"] != after["tokens"] for before, after in rows)
    return Pairs(rows, len(base.keys() - here.keys()), len(here.keys() - base.keys()), other)


def compare(pairs: Pairs, level: float, samples: int) -> list[Comparison]:
    """Every metric of every split that both commits measured, with a verdict that allows for their number."""
    from tunelock.claims.significance import holm

    found = []
    for split in sorted({after["split"] for _, after in pairs.rows}, key=lambda name: (name != "test", name)):
        members = [both for both in pairs.rows if both[1]["split"] == split]
        for metric in SCORES:
            measured = [both for both in members if usable(both, metric)]
            if measured:
                found.append((split, metric, interval_of(measured, metric, level, samples), len(measured)))
    adjusted = holm({f"{split} {metric}": interval.p for split, metric, interval, _ in found})
    return [
        Comparison(*one, p := adjusted[f"{one[0]} {one[1]}"], verdict_of(one[1], one[2], p, level)) for one in found
    ]


def usable(both: tuple[dict, dict], metric: str) -> bool:
    """Has this pair of rows what the metric is made of?"""
    column = SCORES[metric][0]
    same_tokens = metric not in ON_TOKENS or both[0]["tokens"] == both[1]["tokens"]
    return same_tokens and all(row[column] != "" for row in both)


def interval_of(rows: list[tuple[dict, dict]], metric: str, level: float, samples: int) -> "Interval":
    """This commit less BASE, with the interval of a bootstrap over the groups."""
    from tunelock.claims.uncertainty import paired

    column, by_token = SCORES[metric]
    numerators = numbers(rows, column)
    denominators = numbers(rows, "tokens") if by_token else np.ones_like(numerators)
    return paired(numerators, denominators, [after["group"] for _, after in rows], level, samples)


def numbers(rows: list[tuple[dict, dict]], column: str) -> np.ndarray:
    """A column of both commits, shape (rows, 2); `Stop` names what is no number."""
    try:
        found = np.array([[float(row[column]) for row in both] for both in rows])
    except ValueError:
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise Stop(
            f"metrics/scores.csv: column {column} holds what is no number; run `dvc repro judge` to make it again."
        )
    return found


def verdict_of(metric: str, interval: "Interval", p: float | None, level: float) -> str:
    """better or worse than BASE; undecided inside the noise; unchanged; or too few groups to tell."""
    if interval.difference == 0:
        return "unchanged"
    if p is None:
        return "too few groups"
    if p >= 1 - level:
        return "undecided"
    return "better" if (interval.difference < 0) == (metric in LOWER_IS_BETTER) else "worse"


def relative(comparison: Comparison) -> tuple[float, float | None, float | None]:
    """A difference of losses and its interval as shares of the perplexity: -0.04 is 4 % less."""
    interval = comparison.interval
    return tuple(None if x is None else math.expm1(x) for x in (interval.difference, interval.low, interval.high))
