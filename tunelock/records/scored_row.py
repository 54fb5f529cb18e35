"""One row of models/evaluation/{base,tuned}.jsonl: what a model makes of one record.

The *reference* is the answer that the data holds to be right, the *answer* is what the model wrote.
"""

from typing import NamedTuple, NotRequired, TypedDict

HELD_OUT = ("test", "golden")  # the splits of the domain, which claims and tables are about
GENERAL = "general"  # the questions that have nothing to do with the domain, for what was forgotten


class ScoredRow(TypedDict):
    """A scored record. Losses are nats, summed over tokens.

    `loss` is over the `tokens` of the reference, its end token included; `confidence` has ten lists [tokens, right,
    sum of probability], as in `tunelock.answering.scoring.Score`. A row with a wrong answer beside the right one
    has `other_loss` and `other_tokens`: the reference of the row `other_id` behind this row's question. A row of
    multiple choice has its options in `choices`, the loss of each in `choice_losses` (without the end token), and
    in `right` the index of the reference among them. A row that the model answered has `answer`, `stopped` (it
    ended by itself) and `new_tokens`, and `reasoning` where the model thought before its answer. A general row of
    the tuned model has `kl`, the sum over its tokens of KL(base || tuned).
    `reference_label`, `answer_label` and `format_valid` are in no file: `tunelock.metrics.labels` adds them.
    """

    id: str
    group: str
    task: str
    split: str
    question: str
    reference: str
    loss: float
    tokens: int
    confidence: list[list[float]]
    other_id: NotRequired[str]
    other_loss: NotRequired[float]
    other_tokens: NotRequired[int]
    choices: NotRequired[list[str]]
    choice_losses: NotRequired[list[float]]
    right: NotRequired[int]
    answer: NotRequired[str]
    reasoning: NotRequired[str]
    stopped: NotRequired[bool]
    new_tokens: NotRequired[int]
    kl: NotRequired[float]
    reference_label: NotRequired[str]
    answer_label: NotRequired[str]
    format_valid: NotRequired[bool]


class RowPair(NamedTuple):
    """One record as both models scored it."""

    base: ScoredRow
    tuned: ScoredRow

    @property
    def is_answered(self) -> bool:
        """Whether both models wrote an answer."""
        return "answer" in self.base and "answer" in self.tuned


def is_held_out(row: ScoredRow) -> bool:
    """Whether a row is of test or golden, not a general question."""
    return row["split"] in HELD_OUT


def find_margin(losses: list[float]) -> float:
    """By how many nats the likeliest of several options is ahead of the next one."""
    first, second = sorted(losses)[:2]
    return second - first
