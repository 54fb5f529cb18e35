"""What is measured on rows of models/evaluation: which rows have it, statistics, score, and which way is better.

The rows' fields are told in `stages.evaluate`. A measure is left out where no row has it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import tunelock.metrics.statistics as st
from tunelock.metrics.normalise import label, valid

Rows = list[dict]
MAX_LABELS = 200  # with more, a label has a row or two and macro-F1 says little; its table would not fit either


class Measure(NamedTuple):
    """One measure: `statistics` of rows that `has` it, shape (rows, k), and the score `of` their sums.

    better: 1 if more is better, -1 if less is, 0 if neither. binary: a row is right or wrong.
    """

    has: Callable[[dict], bool]
    statistics: Callable[[Rows], np.ndarray]
    of: Callable[[np.ndarray], np.ndarray] = st.mean
    better: int = 1
    binary: bool = False


def measures(label_patterns: dict[str, str] | None, format_checks: dict[str, str] | None) -> dict[str, Measure]:
    """All measures by their names in metrics/evaluate.json, for these params (task: pattern)."""
    return LOSSES | TEXTS | CHOICES | ANSWERS | by_task(label_patterns or {}, format_checks or {})


def losses(rows: Rows) -> np.ndarray:
    """Nats and tokens."""
    return np.array([[row["loss"], row["tokens"]] for row in rows], dtype=float).reshape(-1, 2)


def contrasts(rows: Rows) -> list[float]:
    """By how many nats a token an answer is likelier under its own question than under this row's.

    The answer is that of the row `other_id`: the same tokens twice, so that its style and length cancel out. A row
    without `other_id` has its own answer in their place, which on average is as good and scatters twice as much.
    """
    by_id = {row["id"]: row for row in rows}
    own = [by_id.get(row.get("other_id"), row) for row in rows]
    return [a["other_loss"] / a["other_tokens"] - b["loss"] / b["tokens"] for a, b in zip(rows, own)]


def answered(row: dict) -> bool:
    return "answer" in row


def of_texts(statistics: Callable[[list[str], list[str]], np.ndarray]) -> Callable[[Rows], np.ndarray]:
    """Statistics of answers and references as statistics of rows."""
    return lambda rows: statistics([row["answer"] for row in rows], [row["reference"] for row in rows])


def choices(rows: Rows, normalised: bool) -> np.ndarray:
    lengths = [[len(text) for text in row["choices"]] for row in rows] if normalised else None
    return st.choice_rows([row["choice_losses"] for row in rows], [row["right"] for row in rows], lengths)


LOSSES = {
    "loss": Measure(lambda row: True, losses, better=-1),
    "contrast": Measure(lambda row: "other_loss" in row, lambda rows: st.shares(contrasts(rows))),
    "match_accuracy": Measure(
        lambda row: "other_loss" in row, lambda rows: st.shares(c > 0 for c in contrasts(rows)), binary=True
    ),
    "calibration_error": Measure(
        lambda row: "confidence" in row, lambda rows: st.confidence_rows([row["confidence"] for row in rows]),
        st.calibration_error, -1,
    ),
}  # fmt: skip
TEXTS = {
    "bleu": Measure(answered, of_texts(st.bleu_rows), st.bleu),
    "chrf": Measure(answered, of_texts(st.chrf_rows), st.chrf),
    "rouge_l": Measure(answered, of_texts(st.rouge_l_rows)),
    "exact_match": Measure(answered, of_texts(st.exact_match_rows), binary=True),
    "token_f1": Measure(answered, of_texts(st.token_f1_rows)),
}
CHOICES = {
    "choice_accuracy": Measure(lambda row: "choices" in row, lambda rows: choices(rows, False), binary=True),
    "choice_accuracy_norm": Measure(lambda row: "choices" in row, lambda rows: choices(rows, True), binary=True),
}
ANSWERS = {  # of the answers alone
    "stop_rate": Measure(answered, lambda rows: st.shares(row["stopped"] for row in rows), binary=True),
    "mean_length": Measure(answered, lambda rows: st.shares(row["new_tokens"] for row in rows), better=0),
    "repetition": Measure(answered, lambda rows: st.repetition_rows([row["answer"] for row in rows]), better=-1),
}


def by_task(label_patterns: dict[str, str], format_checks: dict[str, str]) -> dict[str, Measure]:
    """Those that a task's params ask for. Labels of two tasks are two labels."""

    def wanted(row: dict) -> str | None:
        found = label(row["reference"], label_patterns[row["task"]]) if row["task"] in label_patterns else None
        return found and f"{row['task']} {found}"

    def said(row: dict) -> str:
        return f"{row['task']} {label(row['answer'], label_patterns[row['task']])}"

    def labelled(row: dict) -> bool:
        return answered(row) and wanted(row) is not None

    def macro(rows: Rows) -> np.ndarray | None:
        names = [wanted(row) for row in rows]
        return st.macro_f1_rows([said(row) for row in rows], names) if len(set(names)) <= MAX_LABELS else None

    return {
        "accuracy": Measure(labelled, lambda rows: st.shares(said(r) == wanted(r) for r in rows), binary=True),
        "macro_f1": Measure(labelled, macro, st.macro_f1),
        "format_valid": Measure(
            lambda row: answered(row) and row["task"] in format_checks,
            lambda rows: st.shares(valid(row["answer"], format_checks[row["task"]]) for row in rows),
            binary=True,
        ),
    }
