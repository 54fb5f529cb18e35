"""Two commits row by row: the tuned model of one against that of the other, by metrics/scores.csv of both."""

import csv
import io
import math
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tunelock.metrics.metric import Metric
from tunelock.metrics.registry import METRICS, list_column_metrics
from tunelock.run.errors import Stop

if TYPE_CHECKING:
    from tunelock.claims.uncertainty import Interval  # brings SciPy, which a missing revision need not wait for

OWN_COLUMNS = ("id", "split", "group", "tokens")


class _RowKey(NamedTuple):
    """What names a row in metrics/scores.csv."""

    split: str
    id: str


class _ScorePair(NamedTuple):
    """A row of metrics/scores.csv that both commits have; values are texts, empty for none."""

    base: dict[str, str]
    here: dict[str, str]


class PairedRows(NamedTuple):
    """Rows that both commits scored; by split how many are gone, are new, and have other tokens than before."""

    rows: list[_ScorePair]
    gone: Counter[str]
    new: Counter[str]
    retokenised: Counter[str]

    @property
    def only_base(self) -> int:
        """How many rows the other commit alone has."""
        return self.gone.total()

    @property
    def only_here(self) -> int:
        """How many rows this commit alone has."""
        return self.new.total()

    @property
    def other_tokens(self) -> int:
        """How many rows of both have other tokens than before."""
        return self.retokenised.total()


class Comparison(NamedTuple):
    """One metric of a split. interval: base is BASE's tuned model, tuned is this commit's; p is Holm's."""

    split: str
    metric: str
    interval: "Interval"
    rows: int
    p: float | None
    verdict: str


class _RelativeChange(NamedTuple):
    """A difference of losses as a share of the perplexity, and its interval if there is one: -0.04 is 4 % less."""

    change: float
    low: float | None
    high: float | None


def read_scores(text: str, where: str) -> dict[_RowKey, dict[str, str]]:
    """The rows of a scores.csv; `Stop` if a column is missing or a row stands twice."""
    reader = csv.DictReader(io.StringIO(text))
    missing = sorted({*OWN_COLUMNS, *map(_name_column, list_column_metrics())} - set(reader.fieldnames or []))
    if missing:
        raise Stop(f"{where}: has no column '{missing[0]}'; run `dvc repro metrics` there to make the file again.")
    rows = {}
    for row in reader:
        key = _RowKey(row["split"], row["id"])
        if None in row.values() or key in rows or not key.split.isidentifier():
            what = f"row '{key.id[:40]}' is cut short, stands twice or has no split"
            raise Stop(f"{where}:{reader.line_num}: {what}; run `dvc repro metrics` there to make the file again.")
        rows[key] = row
    return rows


def pair_rows(base: dict[_RowKey, dict[str, str]], here: dict[_RowKey, dict[str, str]]) -> PairedRows:
    """The rows of both, in this commit's order."""
    rows = [_ScorePair(base[key], row) for key, row in here.items() if key in base]
    retokenised = Counter(pair.here["split"] for pair in rows if pair.base["tokens"] != pair.here["tokens"])
    gone = Counter(key.split for key in base.keys() - here.keys())
    return PairedRows(rows, gone, Counter(key.split for key in here.keys() - base.keys()), retokenised)


def count_groups(here: dict[_RowKey, dict[str, str]]) -> Counter[str]:
    """How many groups each split has."""
    groups = {(key.split, row["group"]) for key, row in here.items()}
    return Counter(split for split, _ in groups)


def compare_commits(pairs: PairedRows, level: float, samples: int, without: Collection[str] = ()) -> list[Comparison]:
    """Every metric of every split that both commits measured, with a verdict that allows for their number.

    `without` names metrics that the two commits compute in different ways.
    """
    from tunelock.claims.significance import adjust_by_holm

    found = []
    for split in sorted({pair.here["split"] for pair in pairs.rows}, key=lambda name: (name != "test", name)):
        members = [pair for pair in pairs.rows if pair.here["split"] == split]
        for metric in (one for one in list_column_metrics() if one.name not in without):
            measured = [pair for pair in members if _has_metric(pair, metric)]
            if measured:
                interval = _measure_interval(measured, metric, level, samples)
                found.append(Comparison(split, metric.name, interval, len(measured), interval.p, ""))
    adjusted = adjust_by_holm({f"{one.split} {one.metric}": one.p for one in found})
    return [_add_verdict(one, adjusted[f"{one.split} {one.metric}"], level) for one in found]


def _name_column(metric: Metric) -> str:
    """The column of the tuned model in metrics/scores.csv."""
    return f"{metric.column.name}_tuned"


def _has_metric(pair: _ScorePair, metric: Metric) -> bool:
    """Whether both rows have what the metric is made of."""
    column = _name_column(metric)
    comparable = "tokens" not in metric.hangs_on or pair.base["tokens"] == pair.here["tokens"]
    return comparable and pair.base[column] != "" and pair.here[column] != ""


def _measure_interval(rows: list[_ScorePair], metric: Metric, level: float, samples: int) -> "Interval":
    """This commit less BASE, with the interval of a bootstrap over the groups."""
    from tunelock.claims.uncertainty import compare_ratios

    numerators = _read_column(rows, _name_column(metric))
    denominators = _read_column(rows, "tokens") if metric.column.summed else np.ones_like(numerators)
    return compare_ratios(numerators, denominators, [pair.here["group"] for pair in rows], level, samples)


def _read_column(rows: list[_ScorePair], column: str) -> np.ndarray:
    """A column of both commits, shape (rows, 2); `Stop` names what is no number."""
    try:
        values = np.array([(float(pair.base[column]), float(pair.here[column])) for pair in rows])
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        raise Stop(
            f"metrics/scores.csv: column {column} holds what is no number; run `dvc repro metrics` to make it again."
        )
    return values


def _add_verdict(comparison: Comparison, p: float | None, level: float) -> Comparison:
    """A comparison with the p value that allows for the number of comparisons, and the verdict by it."""
    verdict = _judge_difference(comparison.metric, comparison.interval.difference, p, level)
    return comparison._replace(p=p, verdict=verdict)


def _judge_difference(metric: str, difference: float, p: float | None, level: float) -> str:
    """better or worse than BASE; undecided inside the noise; unchanged; or too few groups to tell."""
    if difference == 0:
        return "unchanged"
    if p is None:
        return "too few groups"
    if p >= 1 - level:
        return "undecided"
    return "better" if (difference < 0) == (METRICS[metric].direction < 0) else "worse"


def measure_relative_change(comparison: Comparison) -> _RelativeChange:
    """By what share the perplexity changed, of a comparison of losses."""
    interval = comparison.interval
    low, high = (None if bound is None else math.expm1(bound) for bound in (interval.low, interval.high))
    return _RelativeChange(math.expm1(interval.difference), low, high)
