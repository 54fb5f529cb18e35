"""What a model's answers show that its curves do not, by stated rules; `tunelock.diagnosis.diagnosis` makes verdicts
of it.

A row is one of `stages.evaluate`: question, reference, loss, tokens, answer, stopped, new_tokens.
Each share is compared with that of the references, so that a task whose right answers are repetitive, copied or all
alike is not held to be faulty, and with that of the base's answers: what the base does too is no fault of the run.
"""

import math
from collections import Counter
from collections.abc import Callable
from statistics import mean, stdev

from tunelock.diagnosis.answer_texts import is_copied, is_looping, is_quoted, measure_overlap, split_text
from tunelock.diagnosis.loss_rules import MIN_ANSWERS, NAMED, SURE, Finding, RunAnswers, find_mismatch, find_no_gain
from tunelock.records.scored_row import ScoredRow

EXCESS = 0.3  # more answers with a fault than references: beyond chance with ten, and worth a look with any number
STRANGE = 0.4  # more words that nobody uses here than references have; a good answer says some things in its own way
BEYOND_BASE = 0.1  # and that many more than the base's answers
STOPS = 0.5  # fewer answers that end by themselves, where the reference would have had room
BASE_STOPS = 0.05  # a base that ends fewer of its answers gives no figure to compare with: that is still to be learnt
FEWER_STOPS, STOPS_LEFT = 0.3, 0.25  # so many fewer than the base's answers, or that share of them beyond doubt
QUOTED = 0.1  # share of answers in quotation marks, where references are as well: residue of a table that was misread
RELATED = 2.0  # standard errors by which answers are to be closer to their own references than to others'


def _share_with_fault(rows: list[ScoredRow], key: str, has_fault: Callable[[str, str], bool]) -> float:
    """The share of rows whose text under `key` has the fault."""
    return mean(has_fault(row[key], row["question"]) for row in rows)


def _name_rows(rows: list[ScoredRow], has_fault: Callable[[str, str], bool]) -> tuple[str, ...]:
    """The ids of the first rows whose answer has the fault."""
    return tuple(row["id"] for row in rows if has_fault(row["answer"], row["question"]))[:NAMED]


def _find_excess(
    answers: RunAnswers, measure: Callable[[list[ScoredRow], str], float], excess: float, words: str
) -> str | None:
    """The sentence about a share of the answers that is above that of the references and of the base's answers."""
    share, expected = measure(answers.rows, "answer"), measure(answers.rows, "reference")
    before = measure(answers.base_answers, "answer") if answers.base_answers else None
    if share <= expected + excess or (before is not None and share <= before + BEYOND_BASE):
        return None
    base = "" if before is None else f", of the base's answers {before:.0%}"
    return f"{share:.0%} {words}, of the references {expected:.0%}{base}."


def _share_unknown_words(rows: list[ScoredRow], key: str) -> float:
    """The share of words under `key` that no question and no reference of another row has."""
    rows_with = Counter()
    for row in rows:
        rows_with.update({*split_text(row["question"]), *split_text(row["reference"])})
    words = strange = 0
    for row in rows:
        only_in_reference = set(split_text(row["reference"])) - set(split_text(row["question"]))
        for word in split_text(row[key]):
            words += 1
            strange += rows_with[word] <= (word in only_in_reference)
    return strange / max(1, words)


def _find_gibberish(answers: RunAnswers) -> Finding | None:
    """Answers that go round in circles, or are made of words that nobody uses here."""

    def share_looping(rows: list[ScoredRow], key: str) -> float:
        return _share_with_fault(rows, key, is_looping)

    if seen := _find_excess(answers, share_looping, EXCESS, "of the answers repeat themselves"):
        return Finding(seen, _name_rows(answers.rows, is_looping))
    words = "of the answers' words stand in no question or reference"
    seen = _find_excess(answers, _share_unknown_words, STRANGE, words)
    return Finding(seen) if seen else None


def _find_endless(answers: RunAnswers) -> Finding | None:
    """Answers that are cut where the reference would have had room, more often than the base's."""
    room = max(row["new_tokens"] for row in answers.rows)
    roomy, before = ([row for row in rows if row["tokens"] <= room] for rows in (answers.rows, answers.base_answers))
    stopped = mean(row["stopped"] for row in roomy) if len(roomy) >= MIN_ANSWERS else 1.0
    stopped_before = mean(row["stopped"] for row in before) if before else 0.0
    if stopped >= STOPS or not _stops_less(stopped, stopped_before, len(roomy)):
        return None
    base = f" (of the base's {stopped_before:.0%})" if before else ""
    seen = f"{stopped:.0%} of {len(roomy)} answers end by themselves{base}, though their references had room."
    return Finding(seen, tuple(row["id"] for row in roomy if not row["stopped"])[:NAMED])


def _stops_less(share: float, before: float, rows: int) -> bool:
    """Whether a share of answers that stop is below the base's beyond doubt, or the base never learnt to stop."""
    error = math.sqrt((share * (1 - share) + before * (1 - before)) / rows)
    lost = share < STOPS_LEFT * before and before - share > SURE * error
    return before < BASE_STOPS or before - share > FEWER_STOPS or lost


def _find_copies(answers: RunAnswers) -> Finding | None:
    """Answers that only repeat the question."""

    def share_copied(rows: list[ScoredRow], key: str) -> float:
        return _share_with_fault(rows, key, is_copied)

    seen = _find_excess(answers, share_copied, EXCESS, "of the answers are taken out of the question")
    return Finding(seen, _name_rows(answers.rows, is_copied)) if seen else None


def _find_quoted(answers: RunAnswers) -> Finding | None:
    """Answers in quotation marks that were learnt from references in quotation marks."""
    share, expected = (_share_with_fault(answers.rows, key, is_quoted) for key in ("answer", "reference"))
    before = _share_with_fault(answers.base_answers, "answer", is_quoted) if answers.base_answers else 0.0
    if min(share, expected) < QUOTED or share <= before + BEYOND_BASE:
        return None
    seen = f"{share:.0%} of the answers stand in quotation marks, as {expected:.0%} of the references do."
    return Finding(seen, tuple(row["id"] for row in answers.rows if is_quoted(row["reference"], ""))[:NAMED])


def _find_unrelated(answers: RunAnswers) -> Finding | None:
    """Answers that fit their own questions no better than others of the task, and no better than the base's."""
    gains, before = (_compare_with_others(rows) for rows in (answers.rows, answers.base_answers))
    if len(gains) < MIN_ANSWERS or mean(gains) > RELATED * stdev(gains) / math.sqrt(len(gains)):
        return None
    if before and mean(gains) >= mean(before):
        return None
    base = f" (the base's {mean(before):+.3f})" if before else ""
    seen = f"answers share {mean(gains):+.3f} (F1) more words with their own references than with others' of the task"
    return Finding(f"{seen}{base}.")


def _compare_with_others(rows: list[ScoredRow]) -> list[float]:
    """For each answer its overlap with its own reference less that with the others of its task."""
    gains = []
    for task in sorted({row["task"] for row in rows}):
        members = [row for row in rows if row["task"] == task]
        bags = [Counter(split_text(row["reference"])) for row in members]
        for place, row in enumerate(members if len(members) > 1 else []):
            answer = Counter(split_text(row["answer"]))
            others = mean(measure_overlap(answer, bag) for bag in bags[:place] + bags[place + 1 :])
            gains.append(measure_overlap(answer, bags[place]) - others)
    return gains


# The verdict that each rule gives, in the order in which they are said.
ANSWER_RULES: dict[str, Callable[[RunAnswers], Finding | None]] = {
    "gibberish": _find_gibberish,
    "never_stops": _find_endless,
    "copies": _find_copies,
    "quoted": _find_quoted,
    "unrelated": _find_unrelated,
    "no_gain": find_no_gain,
    "mismatch": find_mismatch,
}
