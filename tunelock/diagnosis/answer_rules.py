"""What a model's answers show that its curves do not, by stated rules; `tunelock.diagnosis.diagnosis` makes verdicts
of it.

A row is one of `stages.evaluate`: question, reference, loss, tokens, answer, stopped, new_tokens.
Each share is compared with that of the references, so that a task whose right answers are repetitive, copied or all
alike is not held to be faulty.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from statistics import mean, stdev
from typing import NamedTuple

from tunelock.records.scored_row import ScoredRow

MIN_ANSWERS = 10  # fewer say nothing about a share
EXCESS = 0.3  # more answers with a fault than references: beyond chance with ten, and worth a look with any number
STRANGE = 0.4  # more words that nobody uses here than references have; a good answer says some things in its own way
STOPS = 0.5  # fewer answers that end by themselves, where the reference would have had room
LOOP = 0.5  # share of a text's runs of four words that stood in it before
COPY = 0.8  # share of a text's runs of four words that stand in the question
RELATED = 2.0  # standard errors by which answers are to be closer to their own references than to others'
DIFFERS = 1.1  # loss a token of test over that of validation, or the other way round; both are drawn alike
GAIN = 0.02  # share of the base's loss that training is to take away, or it was for nothing
SURE = 3.0  # and that difference in standard errors


class RunAnswers(NamedTuple):
    """What a rule looks at: the rows that have an answer, those of the base, the lowest validation loss if known."""

    rows: list[ScoredRow]
    base: list[ScoredRow]
    validation_loss: float | None


def _split_words(text: str) -> list[str]:
    """Lower-case words; in scripts without spaces, characters."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|\w+", text.lower())


def _list_runs(text: str, size: int = 4) -> list[tuple[str, ...]]:
    """All runs of `size` words."""
    words = _split_words(text)
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def _is_looping(text: str, _question: str) -> bool:
    """Whether a text says the same again and again."""
    runs = _list_runs(text)
    return len(runs) > 3 and 1 - len(set(runs)) / len(runs) > LOOP


def is_copied(text: str, question: str) -> bool:
    """Whether a text is taken out of the question."""
    runs, there = _list_runs(text), set(_list_runs(question))
    return bool(runs) and sum(run in there for run in runs) / len(runs) > COPY


def _measure_overlap(left: Counter, right: Counter) -> float:
    """F1 of two bags of words (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250)."""
    common = (left & right).total()
    return 2 * common / (left.total() + right.total()) if common else 0.0


def _share_with_fault(rows: list[ScoredRow], key: str, has_fault: Callable[[str, str], bool]) -> float:
    """The share of rows whose text under `key` has the fault."""
    return mean(has_fault(row[key], row["question"]) for row in rows)


def _share_unknown_words(rows: list[ScoredRow], key: str) -> float:
    """The share of words under `key` that no question and no reference of another row has."""
    rows_with = Counter()
    for row in rows:
        rows_with.update({*_split_words(row["question"]), *_split_words(row["reference"])})
    words = strange = 0
    for row in rows:
        only_in_reference = set(_split_words(row["reference"])) - set(_split_words(row["question"]))
        for word in _split_words(row[key]):
            words += 1
            strange += rows_with[word] <= (word in only_in_reference)
    return strange / max(1, words)


def _find_gibberish(answers: RunAnswers) -> str | None:
    """Answers that go round in circles, or are made of words that nobody uses here."""
    rows = answers.rows
    share, expected = (_share_with_fault(rows, key, _is_looping) for key in ("answer", "reference"))
    if share > expected + EXCESS:
        return f"{share:.0%} of the answers repeat themselves, of the references {expected:.0%}."
    share, expected = (_share_unknown_words(rows, key) for key in ("answer", "reference"))
    if share > expected + STRANGE:
        return f"{share:.0%} of the answers' words stand in no question or reference, of a reference's {expected:.0%}."
    return None


def _find_endless(answers: RunAnswers) -> str | None:
    """Answers that are cut where the reference would have had room."""
    room = max(row["new_tokens"] for row in answers.rows)
    roomy = [row for row in answers.rows if row["tokens"] <= room]
    stopped = mean(row["stopped"] for row in roomy) if len(roomy) >= MIN_ANSWERS else 1.0
    if stopped >= STOPS:
        return None
    return f"{stopped:.0%} of {len(roomy)} answers end by themselves, though their references had room."


def _find_copies(answers: RunAnswers) -> str | None:
    """Answers that only repeat the question."""
    share, expected = (_share_with_fault(answers.rows, key, is_copied) for key in ("answer", "reference"))
    if share <= expected + EXCESS:
        return None
    return f"{share:.0%} of the answers are taken out of the question, of the references {expected:.0%}."


def _find_unrelated(answers: RunAnswers) -> str | None:
    """Answers that fit their own questions no better than others of the task."""
    gains = _compare_with_others(answers.rows)
    if len(gains) < MIN_ANSWERS or mean(gains) > RELATED * stdev(gains) / math.sqrt(len(gains)):
        return None
    return f"answers share {mean(gains):+.3f} (F1) more words with their own references than with others' of the task."


def _compare_with_others(rows: list[ScoredRow]) -> list[float]:
    """For each answer its overlap with its own reference less that with the others of its task."""
    gains = []
    for task in sorted({row["task"] for row in rows}):
        members = [row for row in rows if row["task"] == task]
        bags = [Counter(_split_words(row["reference"])) for row in members]
        for place, row in enumerate(members if len(members) > 1 else []):
            answer = Counter(_split_words(row["answer"]))
            others = mean(_measure_overlap(answer, bag) for bag in bags[:place] + bags[place + 1 :])
            gains.append(_measure_overlap(answer, bags[place]) - others)
    return gains


def _find_mismatch(answers: RunAnswers) -> str | None:
    """Scored rows have another loss than the validation rows had under the same weights."""
    expected = answers.validation_loss
    rows = [row for row in answers.rows if row.get("split", "test") == "test"]  # golden rows may well be harder
    if len(rows) < 2 or expected is None:  # one row has no scatter
        return None
    loss = _loss_a_token(rows)
    if 1 / DIFFERS < loss / expected < DIFFERS:
        return None
    scatter = stdev(row["loss"] - loss * row["tokens"] for row in rows) * math.sqrt(len(rows))
    error = math.sqrt(2) * scatter / sum(row["tokens"] for row in rows)  # validation's is about as large
    if abs(loss - expected) < SURE * error:
        return None
    return f"the loss on test is {loss:.3f} nats a token (+-{error:.3f}), where validation had {expected:.3f}."


def _find_no_gain(answers: RunAnswers) -> str | None:
    """The tuned model is no better on the scored rows than the base."""
    before = {row["id"]: row for row in answers.base}
    both = [row for row in answers.rows if row["id"] in before]
    if not both:
        return None
    new, old = _loss_a_token(both), _loss_a_token([before[row["id"]] for row in both])
    if new < (1 - GAIN) * old:
        return None
    return f"the loss on {len(both)} rows is {new:.3f} nats a token, the base's {old:.3f}."


def _loss_a_token(rows: list[ScoredRow]) -> float:
    """Nats a token of the references."""
    return sum(row["loss"] for row in rows) / sum(row["tokens"] for row in rows)


# The verdict that each rule gives, in the order in which they are said.
ANSWER_RULES: dict[str, Callable[[RunAnswers], str | None]] = {
    "gibberish": _find_gibberish,
    "never_stops": _find_endless,
    "copies": _find_copies,
    "unrelated": _find_unrelated,
    "no_gain": _find_no_gain,
    "mismatch": _find_mismatch,
}
