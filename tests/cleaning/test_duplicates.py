"""Which records say the same: which one stays, on account of which one the others go, in whatever order they come."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelock.cleaning.duplicates import (
    NONE,
    QUESTION,
    REFERENCE,
    find_conflicts,
    find_duplicates,
    find_repetitions,
    hash_contents,
)
from tunelock.cleaning.record_rules import RuleParams
from tunelock.cleaning.sameness import read_said, say_the_same
from tunelock.cleaning.survivors import judge_lines
from tunelock.records.near import find_clusters
from tunelock.records.record import make_messages, make_record, whole_text_of
from tunelock.run.files import format_json_line

LONG = "A long question about the weather in the mountains, the plains, the valleys and on the coast of the island: "
PARAMS = RuleParams(True, 1, 1000, None, None, [], {}, "")


def record(question: str, answer: str, line: int = 1) -> dict:
    return make_record(make_messages(question, "", answer), "mine", "a.jsonl", line, "chat", None, None)


def compared(records: list[dict], threshold: float | None = 0.8, conflicting_answers: str = "set_aside") -> dict:
    """(reason, because) by the id of each record that goes, both as ids."""
    found = judge_lines(list(map(format_json_line, records)), PARAMS)
    ids = [row["id"] for row in records]

    def cluster(left: np.ndarray) -> np.ndarray:
        def agree(one: int, other: int) -> bool:
            return say_the_same(*(read_said(records[left[index]], {}) for index in (one, other)), threshold)

        def read_text(index: int) -> str:
            return whole_text_of(records[left[index]])

        return find_clusters(found.signatures[left], threshold, read_text, agree, found.hashes[left, REFERENCE])

    gone = {}
    for _, reason, because in find_repetitions(found.hashes, cluster if threshold else None, conflicting_answers):
        assert because.shape == (len(records),)
        for index in np.flatnonzero(because != NONE):
            assert ids[index] not in gone
            gone[ids[index]] = reason, ids[because[index]]
    return gone


def reasons(*pairs: tuple[str, str], **how) -> list[str]:
    """The sorted reasons for which records of these questions and answers go."""
    return sorted(reason for reason, _ in compared([record(*pair) for pair in pairs], **how).values())


@pytest.mark.parametrize(
    "twin",
    [
        ("WHY IS IT SO?", "Because it is."),
        ("Why  is\nit so?", "Because\tit is. "),
        ("Ｗｈｙ is it so?", "Because it is."),
        ("Why is it so?", "BECAUSE it is."),
    ],
    ids=["case", "space", "width", "case of the answer"],
)
def test_spelling_makes_no_other_record(twin):
    assert reasons(("Why is it so?", "Because it is."), twin, threshold=None) == ["duplicate"]


@pytest.mark.parametrize(
    "other", [("Why is it not so?", "Because it is."), ("Why is it so?", "It is.")], ids=["question", "answer"]
)
def test_another_question_or_answer_is_no_duplicate(other):
    assert reasons(("Why is it so?", "Because it is."), other, conflicting_answers="keep") == []


def test_where_the_question_ends_matters():
    assert reasons(("one two", "three"), ("one", "two three"), threshold=None) == []


@pytest.mark.parametrize(("threshold", "found"), [(0.8, ["near_duplicate"]), (None, [])])
def test_near_duplicates_go_unless_the_rule_is_off(threshold, found):
    pairs = (LONG + "why?", "Because of the wind that blows from the sea."), (LONG + "why so?", "Because of the wind "
             "that blows from the sea.")  # fmt: skip
    assert reasons(*pairs, threshold=threshold) == found


@pytest.mark.parametrize("how", ["set_aside", "keep"])
def test_conflicting_answers_are_all_set_aside_and_each_names_another(how):
    rows = [record("Is it?", answer) for answer in ("yes", "no", "perhaps")]
    gone = compared(rows, conflicting_answers=how)
    assert set(gone) == ({row["id"] for row in rows} if how == "set_aside" else set())
    assert all(reason == "conflicting_answers" and other != own for own, (reason, other) in gone.items())


def test_a_conflict_below_a_long_question_is_no_near_duplicate():
    assert reasons((LONG + "is it?", "yes"), (LONG + "is it?", "no")) == ["conflicting_answers"] * 2


TOWN = ["roof", "road", "river", "bridge", "market", "school", "tower", "field", "harbour", "garden", "mill", "church"]
PASSAGE = " ".join(f"On day {n} the {word} was {word}ed by rain and by wind." for n, word in enumerate(TOWN))
FORMS = ["{p}\n\n{q}", "{q}\n\n{p}", "{p} {q}", "Passage: {p}\nQuestion: {q}\nAnswer yes or no."]
ASKING = ["Was the roof wet?", "Did the school burn?", "Is the tower made of stone?"]
BECAUSE = "The rain came from the sea and fell on the hills for as long as the wind blew from the west."


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("answers", [("yes", "yes", "no"), (BECAUSE, BECAUSE, BECAUSE)], ids=["labels", "sentences"])
@pytest.mark.parametrize("how", ["keep", "set_aside"])
def test_questions_about_one_context_are_no_duplicates(form, answers, how):
    pairs = [(form.format(p=PASSAGE, q=asked), answer) for asked, answer in zip(ASKING, answers)]
    assert reasons(*pairs, conflicting_answers=how) == []
    noisy = form.format(p=PASSAGE.replace("wind", "storm", 1), q=ASKING[0].lower()), answers[0]
    assert reasons(pairs[1], pairs[2], noisy, conflicting_answers=how) == []


def test_turns_below_the_same_conversation_are_no_duplicates():
    before = make_messages(PASSAGE, "", PASSAGE[::-1])
    rows = [make_record([*before, *make_messages(asked, "", "Yes, it was.")], "mine", "a", n, "chat", "g", None)
            for n, asked in enumerate(ASKING)]  # fmt: skip
    assert compared(rows) == {}


def test_a_context_that_the_columns_name_is_left_out_though_it_differs_a_little():
    rows = [make_record(make_messages(asked, passage, "yes"), "mine", "a", n, "chat", None, None)
            for n, (asked, passage) in enumerate(zip(ASKING, (PASSAGE, PASSAGE + " So it was.")))]  # fmt: skip
    assert compared(rows) == {}


@pytest.mark.parametrize(("one", "other"), [("It is not so, {}", "It is so, {}"), ("In 1990, {}", "In 1991, {}")])
@pytest.mark.parametrize("asked", [(LONG, LONG), (LONG + "why?", LONG + "why so?")], ids=["same", "nearly the same"])
def test_a_long_answer_that_contradicts_is_no_duplicate(one, other, asked):
    pairs = [(asked[0], one.format(BECAUSE)), (asked[1], other.format(BECAUSE))]
    assert reasons(*pairs, conflicting_answers="keep") == []


def test_a_conflict_that_is_kept_is_no_near_duplicate():
    pairs = [(LONG + "why?", BECAUSE), (LONG + "why?", BECAUSE + " Again.")]
    assert reasons(*pairs, conflicting_answers="keep") == []


def test_one_answer_to_two_questions_is_no_duplicate():
    assert reasons(("Where does the rain come from?", PASSAGE), ("What did the guide tell us?", PASSAGE)) == []


def test_answers_that_differ_in_punctuation_alone_do_not_conflict():
    assert reasons(("Is it?", "Yes."), ("Is it?", "yes!")) == ["near_duplicate"]


@pytest.mark.parametrize("answers", [("C", "C++"), ("-1", "1"), ("!!!", "???"), ("6 / 2", "6 * 2")])
def test_symbols_make_another_answer(answers):
    assert reasons(*(("What?", answer) for answer in answers)) == ["conflicting_answers"] * 2


def test_a_duplicate_makes_no_conflict():
    assert reasons(("Is it?", "yes"), ("Is it?", "YES")) == ["duplicate"]


def test_a_duplicate_of_a_conflicting_record_goes_as_a_duplicate():
    assert reasons(("Is it?", "yes"), ("Is it?", "YES"), ("Is it?", "no")) == ["conflicting_answers"] * 2 + [
        "duplicate"
    ]


def test_raw_texts_have_no_question_and_conflict_with_nothing():
    texts = [make_record([{"role": "text", "content": t}], "mine", "a", 1, "text", "a", None) for t in ("one", "two")]
    assert compared(texts) == {}
    assert hash_contents(texts[0])[QUESTION] != hash_contents(texts[1])[QUESTION]


@pytest.mark.parametrize("count", [0, 1])
def test_without_another_record_nothing_goes(count):
    assert compared([record("Why?", "So.")] * count) == {}


def test_of_identical_records_one_stays():
    keys, ids = np.full(5, 7, np.uint64), np.array([5, 3, 9, 3, 4], np.uint64)
    assert find_duplicates(keys, ids).tolist() == [1, NONE, 1, 1, 1]


MANY = [
    record(question, answer)
    for question, answer in [
        ("Why?", "So."), ("why?", "so."), ("WHY?", "So."), ("Is it?", "yes"), ("Is it?", "no"), ("Is it?", "No."),
        (LONG + "a", "Wind."), (LONG + "b", "Wind."), (LONG + "c", "Wind."), (LONG + "c", "wind"), ("Alone?", "Yes."),
    ]
]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.permutations(MANY), st.sampled_from(["set_aside", "keep"]))
def test_what_goes_and_why_does_not_depend_on_the_order(rows, how):
    assert compared(rows, conflicting_answers=how) == compared(MANY, conflicting_answers=how)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=20))
def test_each_set_of_duplicates_keeps_its_smallest_id(rows):
    keys, ids = (np.array(column, np.uint64) for column in (zip(*rows) if rows else ((), ())))
    because = find_duplicates(keys, ids)
    for key in set(keys.tolist()):
        members = np.flatnonzero(keys == key)
        kept = members[because[members] == NONE]
        assert len(kept) == 1
        assert ids[kept[0]] == ids[members].min()
        assert set(because[members].tolist()) <= {NONE, kept[0]}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=20))
def test_all_records_of_a_conflict_go_and_no_other(rows):
    questions, answers = (np.array(column, np.uint64) for column in (zip(*rows) if rows else ((), ())))
    because = find_conflicts(questions, answers, np.arange(len(rows)))
    for index, (question, answer) in enumerate(rows):
        others = {other for asked, other in rows if asked == question} - {answer}
        assert (because[index] != NONE) == bool(others)
        if others:
            assert rows[because[index]][0] == question
            assert rows[because[index]][1] in others
