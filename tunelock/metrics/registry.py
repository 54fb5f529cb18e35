"""All metrics by name, in the order in which they are shown. A new one is a line in METRICS of its family's file."""

from tunelock.metrics import answers, labels, likelihood, multiple_choice, texts
from tunelock.metrics.metric import Metric

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


def name_judged(name: str) -> str:
    """The metric whose verdict a metric has: its own, or that of the one that it follows."""
    return (METRICS[name].follows if name in METRICS else "") or name


def list_table_metrics() -> list[Metric]:
    """The rows of the result table."""
    return [metric for metric in METRICS.values() if metric.in_table]


def list_column_metrics() -> list[Metric]:
    """The metrics that have a column in metrics/scores.csv, in the order of the columns."""
    return [metric for metric in METRICS.values() if metric.column]
