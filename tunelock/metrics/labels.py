"""Metrics that params ask for by task: the label in an answer, and the form of an answer."""

from collections import Counter, defaultdict

import numpy as np

from tunelock.metrics.metric import (
    MAX_LABELS,
    Column,
    Floor,
    Metric,
    count_classes,
    divide_safely,
    pair_with_ones,
    score_commonest,
)
from tunelock.metrics.normalise import find_label, has_format
from tunelock.records.scored_row import ScoredRow

HERE = "tunelock/metrics/labels.py"
SKLEARN = "https://scikit-learn.org/stable/modules/generated/sklearn.metrics"


def label_rows(
    rows: list[ScoredRow], label_patterns: dict[str, str] | None, format_checks: dict[str, str] | None
) -> list[ScoredRow]:
    """The rows with what params (task: pattern, task: check) find in their answers.

    A row whose reference has a label gets `reference_label` and `answer_label`, which is the task's name alone where an
    answer has none; labels of two tasks are two labels. A row of a task with a format check gets `format_valid`.
    """
    return [_label_row(row, label_patterns or {}, format_checks or {}) for row in rows]


def _label_row(row: ScoredRow, patterns: dict[str, str], checks: dict[str, str]) -> ScoredRow:
    found, task = row.copy(), row["task"]
    if "answer" not in row:
        return found
    reference = find_label(row["reference"], patterns[task]) if task in patterns else None
    if reference is not None:
        answer = find_label(row["answer"], patterns[task])
        found["reference_label"] = f"{task}\n{reference}"
        found["answer_label"] = task if answer is None else f"{task}\n{answer}"
    if task in checks:
        found["format_valid"] = has_format(row["answer"], checks[task])
    return found


def tell_other_cases(rows: list[ScoredRow], label_patterns: dict[str, str] | None) -> list[str]:
    """A sentence for each task with answers that miss the reference's label by nothing but upper and lower case.

    Args:
        rows: as `label_rows` returns them.
    """
    patterns = label_patterns or {}
    counts = Counter(row["task"] for row in rows if _misses_by_case(row, patterns.get(row["task"])))
    return [
        f"{count} answers of the task `{task}` have the right label in another case and count as wrong; "
        f"`(?i){patterns[task]}` in label_patterns takes them as right."
        for task, count in sorted(counts.items())
    ]


def _misses_by_case(row: ScoredRow, pattern: str | None) -> bool:
    """Whether the answer has the right label in another case; of one letter, only if that is all it says."""
    if pattern is None or not _has_reference_label(row) or row["answer_label"] == row["reference_label"]:
        return False
    reference, answer = (find_label(text, pattern, any_case=True) for text in (row["reference"], row["answer"]))
    return reference == answer and (len(reference or "") > 1 or row["answer"].strip(" .()").casefold() == reference)


def _has_reference_label(row: ScoredRow) -> bool:
    """Whether the row was answered and its reference has a label."""
    return "reference_label" in row


def _count_right_labels(rows: list[ScoredRow]) -> np.ndarray:
    """Whether each answer has the reference's label, and one, shape (rows, 2)."""
    return pair_with_ones(row["answer_label"] == row["reference_label"] for row in rows)


def _count_labels(rows: list[ScoredRow]) -> np.ndarray | None:
    """Three blocks, a column a label of the references: found rightly, found wrongly, missed; (rows, 3 x labels).

    None above MAX_LABELS labels.
    """
    names = sorted({row["reference_label"] for row in rows})
    if len(names) > MAX_LABELS:
        return None
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(rows), 3, len(names)))
    for number, row in enumerate(rows):
        said, right = row["answer_label"], row["reference_label"]
        counts[number, 0 if said == right else 2, places[right]] = 1
        if said != right and said in places:
            counts[number, 1, places[said]] = 1
    return counts.reshape(len(rows), -1)


def _score_macro_f1(sums: np.ndarray) -> np.ndarray:
    """The mean F1 of the labels that any reference has."""
    right, wrong, missed = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    scores = divide_safely(2 * right, 2 * right + wrong + missed)
    wanted = right + missed > 0
    return divide_safely((scores * wanted).sum(axis=-1), wanted.sum(axis=-1))


def _count_commonest_labels(rows: list[ScoredRow]) -> np.ndarray:
    """The label of each reference, by task, as `count_classes` gives it."""
    return count_classes([row["task"] for row in rows], [row["reference_label"] for row in rows])


def _count_chances(rows: list[ScoredRow]) -> np.ndarray:
    """The chance of guessing each label, and one, shape (rows, 2): one of the options of the question if it lists
    some, else of the labels that references of the task have."""
    labels = defaultdict(set)
    for row in rows:
        labels[row["task"]].add(row["reference_label"])
    return pair_with_ones(1 / len(row.get("choices") or labels[row["task"]]) for row in rows)


def _has_format_check(row: ScoredRow) -> bool:
    """Whether the row was answered and its task has a format check."""
    return "format_valid" in row


def _count_valid_formats(rows: list[ScoredRow]) -> np.ndarray:
    """Whether each answer passes its check, and one, shape (rows, 2)."""
    return pair_with_ones(row["format_valid"] for row in rows)


METRICS = (
    Metric(
        "accuracy",
        "Share of answers with the right label.",
        "2.0.0",
        f"{SKLEARN}.accuracy_score.html",
        _has_reference_label,
        _count_right_labels,
        binary=True,
        in_table=True,
        column=Column("right"),
        floors=(
            Floor("majority_accuracy", "the commonest label alone"),
            Floor("chance_accuracy", "guessing a label"),
        ),
        hangs_on=("reference_label",),
    ),
    Metric(
        "majority_accuracy",
        "The accuracy of always giving the commonest label of the task.",
        "1.0.0",
        HERE,
        _has_reference_label,
        _count_commonest_labels,
        score_commonest,
        direction=0,
        in_table=True,
        hangs_on=("reference_label",),
    ),
    Metric(
        "chance_accuracy",
        "The accuracy of guessing among the options of the question, or among the labels of the task.",
        "1.0.0",
        HERE,
        _has_reference_label,
        _count_chances,
        direction=0,
        in_table=True,
        hangs_on=("reference_label",),
    ),
    Metric(
        "macro_f1",
        "F1 of the labels, each label counting the same.",
        "2.0.0",
        f"{SKLEARN}.f1_score.html",
        _has_reference_label,
        _count_labels,
        _score_macro_f1,
        hangs_on=("reference_label",),
    ),
    Metric(
        "format_valid",
        "Share of answers in the form that params.yaml asks for.",
        "2.0.0",
        HERE,
        _has_format_check,
        _count_valid_formats,
        binary=True,
    ),
)
