"""What the losses of the scored rows show: no gain over the base, another loss than validation had, hardest rows."""

import math
from statistics import stdev
from typing import NamedTuple

from tunelock.records.scored_row import ScoredRow

MIN_ANSWERS = 10  # fewer say nothing about a share
NAMED = 3  # rows of a fault that are named
DIFFERS = 1.1  # loss a token of test over that of validation, or the other way round; both are drawn alike
GAIN = 0.02  # share of the base's loss that training is to take away, or it was for nothing
SURE = 3.0  # and that difference in standard errors


class RunAnswers(NamedTuple):
    """What a rule looks at: the rows that have an answer, those of the base, the lowest validation loss if known."""

    rows: list[ScoredRow]
    base: list[ScoredRow]
    validation_loss: float | None

    @property
    def base_answers(self) -> list[ScoredRow]:
        """The base's rows that have an answer, MIN_ANSWERS or none."""
        rows = [row for row in self.base if "answer" in row]
        return rows if len(rows) >= MIN_ANSWERS else []


class Finding(NamedTuple):
    """What a rule saw: the numbers in a sentence, and the ids of some rows."""

    evidence: str
    rows: tuple[str, ...] = ()


def find_mismatch(answers: RunAnswers) -> Finding | None:
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
    return Finding(f"the loss on test is {loss:.3f} nats a token (+-{error:.3f}), where validation had {expected:.3f}.")


def find_no_gain(answers: RunAnswers) -> Finding | None:
    """The tuned model is no better on the scored rows than the base."""
    before = {row["id"]: row for row in answers.base}
    both = [row for row in answers.rows if row["id"] in before]
    if not both:
        return None
    new, old = _loss_a_token(both), _loss_a_token([before[row["id"]] for row in both])
    if new < (1 - GAIN) * old:
        return None
    return Finding(f"the loss on {len(both)} rows is {new:.3f} nats a token, the base's {old:.3f}.")


def _loss_a_token(rows: list[ScoredRow]) -> float:
    """Nats a token of the references."""
    return sum(row["loss"] for row in rows) / sum(row["tokens"] for row in rows)


def find_hardest(rows: list[ScoredRow]) -> tuple[str, ...]:
    """The ids of the rows whose loss a token is highest."""
    ordered = sorted(rows, key=lambda row: (-row["loss"] / row["tokens"], row["id"]))
    return tuple(row["id"] for row in ordered[:NAMED])
