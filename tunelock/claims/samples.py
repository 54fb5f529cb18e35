"""metrics/samples.md and metrics/scores.csv: answers side by side, and every row's figures."""

import csv
import io

import numpy as np

from tunelock.claims.comparison import MODELS, Compared, list_row_scores
from tunelock.metrics.digits import DIGITS
from tunelock.metrics.registry import list_column_metrics
from tunelock.records.scored_row import ScoredRow

SAMPLES = 10  # questions shown side by side


def format_samples(base: list[ScoredRow], tuned: list[ScoredRow]) -> str:
    """A Markdown page with the reference and both answers to the first golden questions."""
    lines = ["# Golden questions, base against tuned\n"]
    pairs = [(a, b) for a, b in zip(base, tuned) if a["split"] == "golden" and "answer" in a]
    for before, after in pairs[:SAMPLES]:
        lines.append(f"## {before['id']} ({before['task']})\n")
        for title, text in (
            ("question", before["question"]),
            ("reference", before["reference"]),
            ("base", before["answer"]),
            ("tuned", after["answer"]),
        ):
            lines.append(f"**{title}**\n\n{_indent_lines(text)}\n")
    return "\n".join(lines)


def _indent_lines(text: str) -> str:
    """The text as a block of code, in which nothing is markup."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def format_scores(rows: list[ScoredRow], measured: dict[str, Compared]) -> str:
    """The CSV text of metrics/scores.csv: a line a row of test and golden; empty where a row has no such figure.

    loss is in nats summed over the row's tokens, contrast in nats a token, right 0 or 1 (the label of the answer).
    """
    head, columns = ["id", "split", "task", "group", "tokens"], []
    for metric in list_column_metrics():
        score = _take_first if metric.column.summed else None
        columns.append(list_row_scores(measured.get(metric.name), len(rows), score))
        head += [f"{metric.column.name}_{model}" for model in MODELS]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(head)
    for place, row in enumerate(rows):
        line = [row["id"], row["split"], row["task"], row["group"], row["tokens"]]
        for column in columns:
            line += map(_format_figure, column[place])
        table.writerow(line)
    return out.getvalue()


def _take_first(statistics: np.ndarray) -> np.ndarray:
    """The first statistic of each row, which is a sum over its tokens."""
    return statistics[..., 0]


def _format_figure(value: float | None) -> str:
    """A figure with six significant digits, no zeros at its end."""
    return "" if value is None else f"{np.float64(value):.{DIGITS}g}"
