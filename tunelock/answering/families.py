"""A record with the answers that are put to its question: its own, a wrong one, and the options that it lists."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from tunelock.answering.choices import Choice, find_choice, render_option
from tunelock.answering.contrast import pick_wrong_answers
from tunelock.answering.scoring import Score, score_families
from tunelock.records.record import Message, Record, question_in
from tunelock.records.scored_row import ScoredRow
from tunelock.rendering.conversation import IGNORE, render_messages
from tunelock.rendering.rendering import RenderedRow, Rendering, select_messages
from tunelock.rendering.template import TemplateRefusal


@dataclass(frozen=True, slots=True)
class Family:
    """A record, rendered with its own answer (`own`), and with a wrong answer and options where it has some.

    `question` and `reference` are what people read. `other_id` is the record whose answer is the wrong one, rendered in
    `other`.
    Rendered rows have input_ids and labels; those of one family begin alike, so a model computes their question once.
    """

    record: Record
    question: str
    reference: str
    own: Mapping[str, Any]
    other_id: str | None = None
    other: Mapping[str, Any] | None = None
    choice: Choice | None = None
    options: tuple[Mapping[str, Any], ...] = ()

    def list_rows(self) -> list[Mapping[str, Any]]:
        """Everything to be scored: the own answer, the wrong one, the options."""
        return [self.own, *([self.other] if self.other else []), *self.options]

    def take_prompt(self) -> list[int]:
        """The tokens of the question, which an answer starts from; none of a raw text."""
        return self.own["input_ids"][: self.own["prompt_length"]]


class ScoredFamily(NamedTuple):
    """A scored row, and the last hidden states at the tokens of its reference (tokens, features) if they were kept."""

    row: ScoredRow
    states: torch.Tensor | None


def make_families(
    tokenizer: PreTrainedTokenizerBase,
    records: list[Record],
    rows: list[RenderedRow],
    rendering: Rendering,
    patterns: dict[str, str],
    contrast_choices: bool = True,
) -> list[Family]:
    """The family of each record of a split.

    Args:
        records, rows: of the split, as records and rendered.
        rendering: a wrong answer or options that make a row longer than its `max_length` are left out.
        patterns: by task, what finds the options of a question among its lines.
        contrast_choices: whether questions with options are held against a wrong answer as well.
    """
    said = [select_messages(tokenizer, record, rendering) for record in records]
    choices = [find_choice(messages, patterns.get(record["task"])) for record, messages in zip(records, said)]
    contrasted = [number for number, choice in enumerate(choices) if contrast_choices or not choice]
    others = _pick_others(records, rows, contrasted)
    families = []
    for number, (record, row, messages, choice) in enumerate(zip(records, rows, said, choices)):
        family = Family(record, question_in(messages), _write_reference(tokenizer, messages[-1], row), row)
        if number in others:
            wrong = [*messages[:-1], said[others[number]][-1]]
            family = _add_wrong_answer(tokenizer, family, wrong, records[others[number]]["id"], rendering.thinking)
        if choice:
            family = _add_options(tokenizer, family, messages, choice, rendering.thinking)
        families.append(_keep_what_fits(family, rendering.max_length))
    return families


def _write_reference(tokenizer, answer: Message, row: RenderedRow) -> str:
    """What is right, as a model would write it: calls of tools stand in the syntax of the chat template."""
    if "tool_calls" not in answer:
        return answer["content"]
    return tokenizer.decode(row["input_ids"][row["prompt_length"] :], skip_special_tokens=True).strip()


def _add_wrong_answer(tokenizer, family: Family, messages: list[Message], other_id: str, thinking: str) -> Family:
    """The family with the answer of another record, calls of tools included, which ends `messages`; as it is, where the
    template refuses."""
    try:
        wrong = render_messages(tokenizer, messages, thinking)
    except TemplateRefusal:
        return family
    return replace(family, other_id=other_id, other=wrong._asdict())


def _add_options(tokenizer, family: Family, messages: list[Message], choice: Choice, thinking: str) -> Family:
    """The family with the options of its question; as it is, where the template refuses one."""
    try:
        options = tuple(render_option(tokenizer, messages, option, thinking) for option in choice.options)
    except TemplateRefusal:
        return family
    return replace(family, choice=choice, options=options)


def _pick_others(records: list[Record], rows: list[RenderedRow], contrasted: list[int]) -> dict[int, int]:
    """The numbers of the records whose answers are put to the questions `contrasted`, by the number of the question."""
    lengths = [len(rows[number]["labels"]) - rows[number]["labels"].count(IGNORE) for number in contrasted]
    wrong = pick_wrong_answers([records[number] for number in contrasted], lengths)
    return {number: contrasted[other] for number, other in zip(contrasted, wrong) if other is not None}


def _keep_what_fits(family: Family, max_length: int) -> Family:
    """The family without a wrong answer, or without options, that makes a row too long."""
    if family.other and len(family.other["input_ids"]) > max_length:
        family = replace(family, other_id=None, other=None)
    if any(len(option["input_ids"]) > max_length for option in family.options):
        family = replace(family, choice=None, options=())
    return family


def score_questions(
    model: torch.nn.Module, families: list[Family], split: str, batch_size: int, keep_states: bool = False
) -> list[ScoredFamily]:
    """A row for each family of a split; `keep_states` keeps the states behind its reference as well."""
    found = score_families(model, [family.list_rows() for family in families], batch_size, keep_states)
    return [ScoredFamily(_make_row(*both, split), both[1][0].states) for both in zip(families, found)]


def _make_row(family: Family, scores: list[Score], split: str) -> ScoredRow:
    """The scores of a family under their names."""
    record, own = family.record, scores[0]
    row: ScoredRow = {
        "id": record["id"],
        "group": record["group"],
        "task": record["task"],
        "split": split,
        "question": family.question,
        "reference": family.reference,
        "loss": own.loss,
        "tokens": own.tokens,
        "confidence": own.confidence,
    }
    if family.other_id is not None:
        row |= {"other_id": family.other_id, "other_loss": scores[1].loss, "other_tokens": scores[1].tokens}
    if family.choice:
        losses = [option.loss for option in scores[-len(family.options) :]]
        row |= {"choices": family.choice.options, "choice_losses": losses, "right": family.choice.right}
    return row
