"""Answers that hold HTML are said aloud, where they are many."""

import pytest

from tunelock.records.markup import describe_markup
from tunelock.records.record import make_messages, make_record


def describe(answers: list[str]) -> str | None:
    return describe_markup(
        make_record(make_messages("Which?", "", answer), "mine", "a.jsonl", 1, "chat", None, None) for answer in answers
    )


def test_answers_with_tags_are_counted_and_the_first_tag_is_named():
    said = describe(["<p class='x'>Turn it off.</p>", "Turn it on.<BR/>", "Wait."])
    assert said is not None and said.startswith(
        "2 of 3 answers hold HTML such as <p class='x'>, which the model learns"
    )


@pytest.mark.parametrize(
    "answer", ["a < b and c > d", "List<String> names", "<user@example.org>", "<think>So.</think>"]
)
def test_what_only_looks_like_a_tag_is_none(answer):
    assert describe([answer] * 3) is None


def test_a_few_answers_about_html_are_no_reason_to_warn():
    assert describe(["Use <b>."] + ["Wait."] * 19) is None
    assert describe(["Use <b>."] + ["Wait."] * 18) is not None


def test_nothing_is_said_of_no_answers():
    assert describe([]) is None
