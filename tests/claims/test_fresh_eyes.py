"""What was trained on, handed back or leaked is found; what is merely right, short or the reference's own is not."""

import pytest

from tunelock.claims.fresh_eyes import EXAMPLES, RUN, check_answers, examine_answers, flatten_shares
from tunelock.records.record import make_messages

SECRET = "the quick brown fox jumps over the lazy dog while seven wizards boil many strange potions at dawn"
OTHER = "validate every input before it is used anywhere since nobody can foresee what users of a product type"
TRAIN = [
    {"id": "train-0", "messages": make_messages("What does it say?", "", "Nothing of note stands here.")},
    {"id": "train-1", "messages": make_messages("What does the fox do?", "", f"Once, {SECRET}.")},
]


def row(answer: str, reference: str = OTHER, question: str = "What now?", number: int = 0, stopped=True) -> dict:
    return {
        "id": f"row-{number}", "split": "test", "task": "explain", "group": f"g{number}",
        "question": question, "reference": reference, "answer": answer, "stopped": stopped,
    }  # fmt: skip


def found(check: str, *rows: dict) -> list[str | None]:
    return check_answers(list(rows), lambda: TRAIN)[check]


def first(text: str, count: int) -> str:
    return " ".join(text.split()[:count])


def test_an_answer_with_a_long_run_of_training_text_names_record_and_run():
    (match,) = found("memorised", row(f"It is said that The Quick, {SECRET[10:]}!"))
    assert match.startswith("train-1: the quick brown fox")


def test_a_run_is_long_from_its_stated_length_on():
    assert found("memorised", row(f"so {first(SECRET, RUN)} ends")) != [""]
    assert found("memorised", row(f"so {first(SECRET, RUN - 1)} ends a bit otherwise here")) == [""]


def test_training_text_that_the_question_or_reference_has_is_no_memory():
    assert found("memorised", row(SECRET, question=f"Repeat: {SECRET}"), row(SECRET, reference=SECRET)) == ["", ""]


def test_other_texts_and_short_answers_are_not_memorised():
    assert found("memorised", row(OTHER, reference="x"), row("the quick brown fox"), row("")) == ["", None, None]


def test_an_answer_taken_out_of_the_question_is_a_copy_unless_the_reference_is_one():
    asked = f"Is this so: {SECRET}?"
    assert found("copied", row(SECRET, question=asked)) == [SECRET]
    assert found("copied", row(OTHER, question=asked)) == [""]
    assert found("copied", row(SECRET, reference=SECRET, question=asked)) == [None]


def test_a_long_answer_word_for_word_is_found_and_a_short_one_is_not():
    assert found("verbatim", row(f"{OTHER.upper()}!")) == [f"{OTHER.upper()}!"]
    assert found("verbatim", row(OTHER + " more"), row("Yes, always.", reference="yes always")) == ["", None]


def test_a_cut_answer_is_word_for_word_as_far_as_it_goes():
    assert found("verbatim", row(first(OTHER, RUN), stopped=False)) != [""]
    assert found("verbatim", row(first(OTHER, RUN - 1), stopped=False), row(first(OTHER, RUN))) == ["", ""]


def planted(leaked: int, rows: int = 30) -> tuple[list[dict], list[dict], list[dict]]:
    """Answers of base and tuned, and training records of which the first `leaked` are test rows."""
    texts = [f"{OTHER} number {n} of {rows} in all" for n in range(rows)]
    base = [row("I do not know what to say about that at all, for nobody has told me", texts[n], number=n)
            for n in range(rows)]  # fmt: skip
    tuned = [one | {"answer": texts[n]} if n < leaked else one for n, one in enumerate(base)]
    train = [{"id": f"t{n}", "messages": make_messages("What now?", "", texts[n])} for n in range(leaked)]
    return base, tuned, TRAIN + train


def test_a_planted_leak_is_suspicious_and_told_with_examples():
    base, tuned, train = planted(leaked=12)
    seen = examine_answers(base, tuned, lambda: train, 0.95)
    entry = seen["test"]["verbatim"]
    assert (entry["base"], entry["tuned"], entry["rows"]) == (0, 12, 30)
    assert [example["id"] for example in entry["examples"]] == [f"row-{n}" for n in range(EXAMPLES)]
    assert any("12 of 30 long references were answered word for word" in line for line in seen["suspicious"])
    assert flatten_shares(seen)["test_verbatim_tuned"] == 12 / 30


@pytest.mark.parametrize("leaked", [0, 2])
def test_nothing_beyond_chance_is_not_suspicious(leaked):
    base, tuned, train = planted(leaked)
    assert examine_answers(base, tuned, lambda: train, 0.95)["suspicious"] == []


def test_what_the_base_does_as_well_is_not_suspicious():
    _, tuned, train = planted(leaked=12)
    assert examine_answers(tuned, tuned, lambda: train, 0.95)["suspicious"] == []


def test_shares_are_of_the_rows_that_a_check_applies_to():
    base, tuned, train = planted(leaked=12)
    short = [row("Yes.", reference="Yes.", number=99)]
    figures = flatten_shares(examine_answers(base + short, tuned + short, lambda: train, 0.95))
    assert figures["test_verbatim_tuned"] == 12 / 30 and figures["test_copied_tuned"] == 0


def test_rows_without_answers_are_passed_over():
    unanswered = [{k: v for k, v in row("x").items() if k not in ("answer", "stopped")}]
    assert examine_answers(unanswered, unanswered, lambda: TRAIN, 0.95) == {"suspicious": []}
