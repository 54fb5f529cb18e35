"""All metrics by name, in the order in which they are shown. A new one is a line in METRICS of its family's file."""

import hashlib
import json

from tunelock.metrics import answers, labels, likelihood, multiple_choice, texts
from tunelock.metrics.metric import Metric
from tunelock.records.scored_row import ScoredRow

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *likelihood.METRICS,
        *texts.METRICS,
        *multiple_choice.METRICS,
        *answers.METRICS,
        *labels.METRICS,
    )
}


def describe_versions() -> dict[str, dict[str, str]]:
    """metrics/versions.json: version, source and, where a library counts by its settings, the signature."""
    return {name: metric.describe() for name, metric in METRICS.items()}


def name_row_sets(rows: list[ScoredRow]) -> dict[str, dict[str, str]]:
    """metrics/rows.json: by split and metric a hash of the content of all rows that the figure is of.

    Two commits whose hashes are equal measured the same questions and references, whatever the order or the ids.
    """
    found: dict[str, dict[str, str]] = {}
    for split in sorted({row["split"] for row in rows}):
        for name, metric in METRICS.items():
            measured = [row for row in rows if row["split"] == split and metric.has(row)]
            if measured:
                found.setdefault(split, {})[name] = _hash_contents(measured, metric.hangs_on)
    return found


def _hash_contents(rows: list[ScoredRow], keys: tuple[str, ...]) -> str:
    """16 hexadecimal digits of SHA-256 over questions, references and what else a metric hangs on."""
    wanted = ("question", "reference", *keys)
    contents = sorted(json.dumps(list(map(row.get, wanted))) for row in rows)
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16]


def name_judged(name: str) -> str:
    """The metric whose verdict a metric has: its own, or that of the one that it follows."""
    return (METRICS[name].follows if name in METRICS else "") or name


def list_table_metrics() -> list[Metric]:
    """The rows of the result table."""
    return [metric for metric in METRICS.values() if metric.in_table]


def list_column_metrics() -> list[Metric]:
    """The metrics that have a column in metrics/scores.csv, in the order of the columns."""
    return [metric for metric in METRICS.values() if metric.column]
