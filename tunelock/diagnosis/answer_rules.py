"""What a model's answers show that its curves do not, by stated rules; `tunelock.diagnosis.diagnosis` turns it into
verdicts.

A row is one of `stages.evaluate`: question, reference, loss, tokens, answer, stopped, new_tokens.
Each share is compared with that of the references, so that a task whose right answers are repetitive, copied or all
alike is not held to be faulty.
"""

import math
import re
from collections import Counter
from statistics import mean, stdev

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


def words(text: str) -> list[str]:
    """Lower-case words; in scripts without spaces, characters."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|\w+", text.lower())


def runs(text: str, size: int = 4) -> list[tuple[str, ...]]:
    """All runs of `size` words."""
    said = words(text)
    return [tuple(said[i : i + size]) for i in range(len(said) - size + 1)]


def loops(text: str, _question: str = "") -> bool:
    """Whether a text says the same again and again."""
    found = runs(text)
    return len(found) > 3 and 1 - len(set(found)) / len(found) > LOOP


def copied(text: str, question: str) -> bool:
    """Whether a text is taken out of the question."""
    found, there = runs(text), set(runs(question))
    return bool(found) and sum(run in there for run in found) / len(found) > COPY


def overlap(left: Counter, right: Counter) -> float:
    """F1 of two bags of words (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250)."""
    common = (left & right).total()
    return 2 * common / (left.total() + right.total()) if common else 0.0


def share(rows: list[dict], key: str, fault) -> float:
    """The share of rows whose text under `key` has the fault."""
    return mean(fault(row[key], row["question"]) for row in rows)


def unknown(rows: list[dict], key: str) -> float:
    """The share of words under `key` that no question and no reference of another row has."""
    seen = Counter(word for row in rows for word in set(words(row["question"])) | set(words(row["reference"])))
    own = [(word, row) for row in rows for word in words(row[key])]
    strange = [
        word for word, row in own
        if seen[word] <= (word in words(row["reference"]) and word not in words(row["question"]))
    ]  # fmt: skip
    return len(strange) / max(1, len(own))


def gibberish(rows: list[dict], _base: list[dict], _val: float | None) -> str | None:
    """Answers that go round in circles, or are made of words that nobody uses here."""
    said, expected = share(rows, "answer", loops), share(rows, "reference", loops)
    if said > expected + EXCESS:
        return f"{said:.0%} of the answers repeat themselves, of the references {expected:.0%}."
    said, expected = unknown(rows, "answer"), unknown(rows, "reference")
    if said > expected + STRANGE:
        return f"{said:.0%} of the answers' words stand in no question or reference, of a reference's {expected:.0%}."
    return None


def never_stops(rows: list[dict], _base: list[dict], _val: float | None) -> str | None:
    """Answers that are cut where the reference would have had room."""
    roomy = [row for row in rows if row["tokens"] <= max(other["new_tokens"] for other in rows)]
    stopped = mean(row["stopped"] for row in roomy) if len(roomy) >= MIN_ANSWERS else 1.0
    if stopped >= STOPS:
        return None
    return f"{stopped:.0%} of {len(roomy)} answers end by themselves, though their references had room."


def copies(rows: list[dict], _base: list[dict], _val: float | None) -> str | None:
    """Answers that only repeat the question."""
    said, expected = share(rows, "answer", copied), share(rows, "reference", copied)
    if said <= expected + EXCESS:
        return None
    return f"{said:.0%} of the answers are taken out of the question, of the references {expected:.0%}."


def unrelated(rows: list[dict], _base: list[dict], _val: float | None) -> str | None:
    """Answers that fit their own questions no better than others of the task."""
    gains = closeness(rows)
    if len(gains) < MIN_ANSWERS or mean(gains) > RELATED * stdev(gains) / math.sqrt(len(gains)):
        return None
    return f"answers share {mean(gains):+.3f} (F1) more words with their own references than with others' of the task."


def closeness(rows: list[dict]) -> list[float]:
    """For each answer its overlap with its own reference less that with the others of its task."""
    gains = []
    for task in sorted({row["task"] for row in rows}):
        members = [row for row in rows if row["task"] == task]
        bags = [Counter(words(row["reference"])) for row in members]
        for i, row in enumerate(members if len(members) > 1 else []):
            said = Counter(words(row["answer"]))
            others = mean(overlap(said, bag) for j, bag in enumerate(bags) if j != i)
            gains.append(overlap(said, bags[i]) - others)
    return gains


def mismatch(rows: list[dict], _base: list[dict], val: float | None) -> str | None:
    """Scored rows have another loss than the validation rows had under the same weights."""
    rows = [row for row in rows if row.get("split", "test") == "test"]  # golden rows may well be harder
    loss = per_token(rows) if rows else 0.0
    if not rows or val is None or 1 / DIFFERS < loss / val < DIFFERS:
        return None
    scatter = stdev(row["loss"] - loss * row["tokens"] for row in rows) * math.sqrt(len(rows))
    error = math.sqrt(2) * scatter / sum(row["tokens"] for row in rows)  # validation's is about as large
    if abs(loss - val) < SURE * error:
        return None
    return f"the loss on test is {loss:.3f} nats a token (+-{error:.3f}), where validation had {val:.3f}."


def no_gain(rows: list[dict], base: list[dict], _val: float | None) -> str | None:
    """The tuned model is no better on the scored rows than the base."""
    before = {row["id"]: row for row in base}
    both = [row for row in rows if row["id"] in before]
    if not both or per_token(both) < (1 - GAIN) * per_token([before[row["id"]] for row in both]):
        return None
    old = per_token([before[row["id"]] for row in both])
    return f"the loss on {len(both)} rows is {per_token(both):.3f} nats a token, the base's {old:.3f}."


def per_token(rows: list[dict]) -> float:
    """Nats a token of the references."""
    return sum(row["loss"] for row in rows) / sum(row["tokens"] for row in rows)


RULES = {rule.__name__: rule for rule in (gibberish, never_stops, copies, unrelated, no_gain, mismatch)}
