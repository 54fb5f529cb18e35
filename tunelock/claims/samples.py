"""metrics/samples.md and metrics/scores.csv: answers side by side, and every row's figures."""

import csv
import io

import numpy as np

from tunelock.claims.comparison import Compared, per_row
from tunelock.metrics.digits import DIGITS

SAMPLES = 10  # questions shown side by side
BOTH = ("loss", "contrast", "rouge_l", "token_f1", "right")  # columns of scores.csv for base and tuned


def side_by_side(base: list[dict], tuned: list[dict]) -> str:
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
            lines.append(f"**{title}**\n\n" + "\n".join(f"    {line}" for line in text.splitlines()) + "\n")
    return "\n".join(lines)


def scores(rows: list[dict], measured: dict[str, Compared]) -> str:
    """The CSV text of metrics/scores.csv: a line a row of test and golden; empty where a row has no such figure.

    loss is in nats summed over the row's tokens, contrast in nats a token, right 0 or 1 (the label of the answer).
    """
    columns = [per_row(measured.get("loss"), len(rows), lambda statistics: statistics[..., 0])]
    columns += [per_row(measured.get(key), len(rows)) for key in ("contrast", "rouge_l", "token_f1", "accuracy")]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["id", "split", "task", "group", "tokens", *(f"{key}_{m}" for key in BOTH for m in ("base", "tuned"))]
    )
    for place, row in enumerate(rows):
        figures = [shown(value) for column in columns for value in column[place]]
        table.writerow([row["id"], row["split"], row["task"], row["group"], row["tokens"], *figures])
    return out.getvalue()


def shown(value: float | None) -> str:
    """A figure with six significant digits, no zeros at its end."""
    return "" if value is None else f"{np.float64(value):.{DIGITS}g}"
