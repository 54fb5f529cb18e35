"""What a conversation may look like, and ids that follow from content alone."""

import itertools

import pytest

from tunelock.records.chat_faults import find_chat_fault
from tunelock.records.record import (
    PARAGRAPH_END,
    count_turns,
    drop_question_marks,
    fold_text,
    hash_texts,
    is_learnt,
    is_text,
    keep_last_turns,
    keep_learnt_part,
    make_messages,
    make_record,
    number_of,
    question_of,
    reference_of,
    replace_texts,
    whole_text_of,
)

CALL = {"name": "get_weather", "arguments": '{"city": "Paris"}'}


def chat(roles: str) -> list[dict]:
    """Messages from the first letters of their roles."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool", "x": "narrator"}
    return [{"role": names[letter], "content": f"{letter} says."} for letter in roles]


@pytest.mark.parametrize("roles", ["ua", "sua", "uaua", "suaua", "uata", "uatta", "uataua"])
def test_a_conversation_in_order_is_fine(roles):
    assert find_chat_fault(chat(roles)) is None


@pytest.mark.parametrize(
    ("roles", "fault"),
    [
        ("xa", "unknown_role"), ("ux", "unknown_role"), ("a", "assistant_first"), ("sa", "assistant_first"),
        ("uua", "roles_not_alternating"), ("uaa", "roles_not_alternating"), ("uta", "roles_not_alternating"),
        ("ta", "roles_not_alternating"), ("uatua", "roles_not_alternating"), ("usa", "late_system"),
        ("uasua", "late_system"), ("suasua", "late_system"), ("ssua", "second_system"), ("u", "missing_answer"),
        ("uau", "missing_answer"), ("s", "missing_answer"), ("uat", "missing_answer"), ("", "no_messages"),
    ],
)  # fmt: skip
def test_roles_in_disorder_have_a_fault(roles, fault):
    assert find_chat_fault(chat(roles)) == fault


@pytest.mark.parametrize(
    ("place", "change", "fault"),
    [
        (1, {"content": ""}, "empty_answer"), (1, {"content": " \n\u00a0"}, "empty_answer"),
        (0, {"content": " "}, "empty_turn"), (0, {"content": None}, "content_not_text"),
        (0, {"content": [{"type": "text", "text": "Why?"}]}, "content_not_text"),
        (1, {"content": 5}, "content_not_text"),
        (0, {"tool_calls": [CALL]}, "tool_calls_not_on_answer"),
        (0, {"role": None}, "unknown_role"), (0, {"role": ["user"]}, "unknown_role"),
        (0, {"role": "User"}, "unknown_role"),
    ],
)  # fmt: skip
def test_a_message_that_cannot_be_learnt_from_has_a_fault(place, change, fault):
    messages = chat("ua")
    messages[place] |= change
    assert find_chat_fault(messages) == fault


@pytest.mark.parametrize(
    ("place", "marks", "fault"),
    [
        (1, {"weight": 1}, None), (1, {"weight": 1.0, "train": True}, None), (1, {"weight": None, "train": None}, None),
        (0, {"weight": None}, None), (0, {"weight": 0}, None), (0, {"train": False}, None),
        (1, {"weight": 2}, "bad_weight"), (1, {"weight": "x"}, "bad_weight"), (1, {"weight": 0.5}, "bad_weight"),
        (1, {"weight": [1]}, "bad_weight"), (1, {"train": "true"}, "bad_weight"), (0, {"weight": -1}, "bad_weight"),
        (1, {"weight": 1, "train": False}, "bad_weight"),
        (0, {"weight": 1}, "weight_not_on_answer"), (0, {"train": True}, "weight_not_on_answer"),
        (1, {"train_detail": [{"begin_offset": 0, "end_offset": 1, "train": False}]}, "train_detail"),
        (1, {"weight": 0}, "nothing_to_learn"), (1, {"train": False}, "nothing_to_learn"),
    ],
)  # fmt: skip
def test_a_weight_is_0_or_1_and_stands_on_answers(place, marks, fault):
    messages = chat("ua")
    messages[place] |= marks
    assert find_chat_fault(messages) == fault


def unlearnt(messages: list[dict], *places: int) -> list[dict]:
    """The messages with weight 0 at these places."""
    return [{**message, **({"weight": 0} if n in places else {})} for n, message in enumerate(messages)]


def test_answers_of_weight_0_are_context_and_what_follows_the_last_learnt_one_is_nothing():
    messages = unlearnt(chat("suauaua"), 2, 6)
    assert [is_learnt(message) for message in messages] == [False, False, False, False, True, False, False]
    assert keep_learnt_part(messages) == messages[:5]
    assert keep_learnt_part(chat("suaua")) == chat("suaua")
    assert keep_learnt_part(chat("su")) == chat("su")
    found = record([{**message, "content": f"{n}"} for n, message in enumerate(messages)])
    assert (question_of(found), reference_of(found)) == ("1\n\n2\n\n3", "4")
    assert whole_text_of(found) == "1\n\n2\n\n3\n\n4\n\n5\n\n6"


def test_a_weight_of_0_makes_another_record_and_survives_other_texts():
    messages = unlearnt(chat("uaua"), 1)
    assert record(messages)["id"] != record(chat("uaua"))["id"]
    assert [m.get("weight") for m in replace_texts(messages, "abcd")] == [None, 0, None, None]


@pytest.mark.parametrize(
    ("roles", "most", "kept"),
    [
        ("suauaua", 1, "sua"), ("suauaua", 2, "suaua"), ("suauaua", 3, "suauaua"), ("suauaua", None, "suauaua"),
        ("uaua", 1, "ua"), ("uatauata", 1, "uata"), ("ua", 5, "ua"),
    ],
)  # fmt: skip
def test_the_last_turns_are_kept_whole_and_the_system_message_first(roles, most, kept):
    said = chat(roles)
    for n, message in enumerate(said):
        message["content"] = str(n)
    found = keep_last_turns(said, most)
    assert "".join(message["role"][0] for message in found) == kept
    assert count_turns(found) == kept.count("u")
    body = [message for message in found if message["role"] != "system"]
    assert body == said[len(said) - len(body) :]


@pytest.mark.parametrize("messages", ["Why?", None, 5, {}, {"role": "user"}])
def test_what_is_no_list_of_messages_has_a_fault(messages):
    assert find_chat_fault(messages) == "no_messages"


@pytest.mark.parametrize("message", ["Why?", None, {}, {"content": "Why?"}])
def test_what_is_no_message_has_a_fault(message):
    assert find_chat_fault([message]) == "not_a_message"


def test_a_message_without_content_has_a_fault():
    assert find_chat_fault([{"role": "user"}]) == "content_not_text"


def record(messages=None, **changes) -> dict:
    place = {"source": "mine", "file": "a.jsonl", "line": 1, "task": "chat", "group": None, "licence": None}
    return make_record(messages or chat("ua"), **{**place, **changes})


@pytest.mark.parametrize("change", [{"file": "b.csv"}, {"line": 9}, {"licence": "MIT"}])
def test_an_id_does_not_depend_on_where_the_content_stands(change):
    assert record(**change)["id"] == record()["id"]


@pytest.mark.parametrize(
    "change",
    [{"task": "qa"}, {"group": "g"}, {"source": "theirs"}, {"messages": chat("sua")}, {"messages": chat("uaua")}],
)
def test_an_id_changes_with_task_group_source_and_content(change):
    assert record(**change)["id"] != record()["id"]


def test_an_id_names_its_source_and_ends_with_its_number():
    found = record(source="a_b")["id"]
    assert found == f"a_b-{number_of(found):016x}"


def test_without_a_group_the_question_is_the_group_however_it_is_written():
    asked = [make_messages(text, "", said) for text, said in [("Why  not?", "A."), ("why\nNOT?", "B."), ("Why?", "A.")]]
    first, same, other = (record(messages)["group"] for messages in asked)
    assert first == same != other


def test_a_raw_text_without_a_group_is_its_own():
    texts = [[{"role": "text", "content": text}] for text in ("One.", "Two.")]
    assert record(texts[0])["group"] != record(texts[1])["group"]
    assert is_text(record(texts[0])) and not is_text(record())


def test_the_parts_of_a_record():
    found = record(chat("suata"))
    assert question_of(found) == "u says.\n\na says.\n\nt says."
    assert reference_of(found) == "a says."
    assert whole_text_of(found) == "u says.\n\na says.\n\nt says.\n\na says."
    text = record([{"role": "text", "content": "One."}])
    assert (question_of(text), reference_of(text), whole_text_of(text)) == ("", "One.", "One.")


def test_turns_trim_and_join_and_leave_an_empty_system_out():
    assert [message["content"] for message in make_messages(" Why? ", " A.\n", "B. ")] == ["Why?\n\nA.", "B."]
    assert [message["role"] for message in make_messages("Why?", "", "", " s ")] == ["system", "user", "assistant"]


def test_folding_ignores_case_white_space_and_unicode_form():
    assert fold_text("ＳＴＲＡＳＳＥ\u00a0 1") == fold_text("Straße 1") == "strasse 1"
    assert fold_text("e\u0301") == fold_text("é")


def test_hashes_tell_where_a_text_ends_and_bear_broken_text():
    texts = [("a", "b"), ("ab",), ("a", "", "b"), ("b", "a"), ("\ud800",), ()]
    assert all(hash_texts(*one) != hash_texts(*other) for one, other in itertools.combinations(texts, 2))


def test_other_texts_keep_the_roles():
    assert [(m["role"], m["content"]) for m in replace_texts(chat("ua"), ["1", "2"])] == [
        ("user", "1"),
        ("assistant", "2"),
    ]
    with pytest.raises(ValueError):
        replace_texts(chat("ua"), ["1"])


@pytest.mark.parametrize("first", [True, False])
def test_a_question_with_a_context_says_which_paragraphs_are_the_question(first):
    asked = make_messages("Is it so?\n\n- yes\n- no", "It is so.\n\nAnd more.", "yes", context_first=first)[0]
    paragraphs = PARAGRAPH_END.split(asked["content"])
    kept = paragraphs[asked["question"] :] if first else paragraphs[: asked["question"]]
    assert kept == ["Is it so?", "- yes\n- no"]
    assert "question" not in make_messages("Is it so?", " ", "yes")[0]


def test_the_mark_of_a_question_changes_no_id_and_leaves_with_no_export():
    marked = make_messages("Is it so?", "It is so.", "yes")
    plain = drop_question_marks(marked)
    assert [sorted(message) for message in plain] == [["content", "role"]] * 2
    ids = {make_record(one, "s", "f", 1, "t", None, None)["id"] for one in (marked, plain)}
    assert len(ids) == 1
