"""Each format becomes messages and comes back; what does not fit is said, and nothing is guessed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelock.reading.formats import FORMATS, detect_format, map_columns
from tunelock.reading.rows import Unfit
from tunelock.records.record import drop_question_marks


def said(*turns: tuple[str, str]) -> list[dict]:
    return [{"role": role, "content": content} for role, content in turns]


SINGLE = said(("user", "Why?"), ("assistant", "Because."))
SYSTEM = said(("system", "Be brief.")) + SINGLE
LONG = SINGLE + said(("user", "Really?"), ("assistant", "Yes."))
TOOLS = said(("user", "2+2?"), ("assistant", "I ask."), ("tool", "4"), ("assistant", "Four."))
CALLED = said(("user", "Rain?"), ("assistant", "I look."), ("tool", "No."), ("assistant", "It is dry."))
CALLED[0]["tools"] = '[{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]'
CALLED[1]["tool_calls"] = [{"name": "get_weather", "arguments": '{"city": "Paris", "at": null}', "id": "a1"}]
CALLED[2] |= {"name": "get_weather", "tool_call_id": "a1"}
WEIGHTED = [*SINGLE[:1], {**SINGLE[1], "weight": 0}, *LONG[2:]]
TEXT = said(("text", " Once upon\n\na time. "))
FITS = {
    "chatml": [SINGLE, SYSTEM, LONG, TOOLS, CALLED, WEIGHTED],
    "sharegpt": [SINGLE, SYSTEM, LONG, TOOLS, CALLED, WEIGHTED],
    "alpaca": [SINGLE, SYSTEM],
    "instruction": [SINGLE, SYSTEM],
    "completion": [SINGLE],
    "qa": [SINGLE],
    "text": [TEXT],
}


def test_every_format_is_covered():
    assert FITS.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "messages",
    [SINGLE, SYSTEM, LONG, TOOLS, CALLED, WEIGHTED, TEXT],
    ids=["one", "system", "two", "tool", "called", "weight", "text"],
)
def test_a_format_gives_back_what_it_holds_and_refuses_what_it_cannot_hold(name, messages):
    known = FORMATS[name]
    if messages in FITS[name]:
        columns = known.from_messages(messages)
        assert detect_format(columns) == name
        assert known.to_messages(columns) == messages
    else:
        with pytest.raises(Unfit, match="does_not_fit"):
            known.from_messages(messages)


words = st.text(min_size=1, max_size=20).map(str.strip).filter(bool)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.sampled_from(sorted(FORMATS.keys() - {"text"})), words, words)
def test_any_question_and_answer_survive_the_round_trip(name, asked, answered):
    messages = said(("user", asked), ("assistant", answered))
    assert FORMATS[name].to_messages(FORMATS[name].from_messages(messages)) == messages


@pytest.mark.parametrize(
    ("columns", "messages"),
    [
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]}, SINGLE),
        ({"conversations": [{"role": "user", "content": "Why?"}, {"role": "model", "content": "Because."}]}, SINGLE),
        ({"conversations": FORMATS["sharegpt"].from_messages(SINGLE)["conversations"], "system": "Be brief."}, SYSTEM),
        ({"conversations": FORMATS["sharegpt"].from_messages(SINGLE)["conversations"], "system": " "}, SINGLE),
        ({"instruction": "Why?", "input": "", "output": "Because."}, SINGLE),
        ({"instruction": "Why?", "output": "Because.", "text": "Below is an instruction."}, SINGLE),
        ({"instruction": "Why?", "input": None, "output": " Because.\n", "history": []}, SINGLE),
        ({"instruction": "Really?", "output": "Yes.", "history": [["Why?", "Because."]]}, LONG),
        ({"instruction": "Why?", "input": "A.", "output": "B."}, said(("user", "Why?\n\nA."), ("assistant", "B."))),
        ({"instruction": "Why?", "context": "A.", "response": "B."}, said(("user", "Why?\n\nA."), ("assistant", "B."))),
        ({"prompt": SINGLE[:1], "completion": SINGLE[1:]}, SINGLE),
        ({"question": "Why?", "answer": "Because.", "id": 7}, SINGLE),
        ({"question": "2+2?", "answer": 4}, said(("user", "2+2?"), ("assistant", "4"))),
        ({"question": "2+2?", "answer": 4.0}, said(("user", "2+2?"), ("assistant", "4"))),
        ({"question": "Is it 4?", "answer": True}, said(("user", "Is it 4?"), ("assistant", "true"))),
        ({"messages": [{**SINGLE[0], "name": "Ann"}, {**SINGLE[1], "tool_calls": []}]}, SINGLE),
        ({"messages": [{**m, "weight": int(m["role"] == "assistant")} for m in LONG]}, LONG),
        ({"messages": [{**m, "weight": int(m["content"] == "Yes.")} for m in LONG]}, WEIGHTED),
        ({"messages": [{**m, "train": m["content"] == "Yes."} for m in LONG]}, WEIGHTED),
        ({"conversations": [{"from": m["role"], "value": m["content"], "train": m["content"] == "Yes."} for m in LONG]},
         WEIGHTED),
        ({"prompt": WEIGHTED[:3], "completion": WEIGHTED[3:]}, WEIGHTED),
        ({"text": TEXT[0]["content"]}, TEXT),
    ],
)  # fmt: skip
def test_the_variants_that_people_keep_are_understood(columns, messages):
    assert drop_question_marks(FORMATS[detect_format(columns)].to_messages(columns)) == messages


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"question": "Why?", "answer": ["Because."]}, "not_text 'answer'"),
        ({"question": ["Why?"], "answer": "Because."}, "not_text 'question'"),
        ({"question": "Why?", "answer": float("nan")}, "empty_answer"),
        ({"question": "Why?", "answer": float("inf")}, "infinity 'answer'"),
        ({"question": "Why?", "answer": None}, "empty_answer"),
        ({"question": " ", "answer": "Because."}, "empty_turn"),
        ({"instruction": "Why?", "output": "Yes.", "history": [["Why?"]]}, "not_a_message"),
        ({"instruction": "Why?", "output": "Yes.", "history": [["Why?", None]]}, "content_not_text"),
        ({"conversations": [{"from": "narrator", "value": "Why?"}]}, "unknown_role 'narrator'"),
        ({"conversations": ["Why?", "Because."]}, "not_a_message"),
        ({"conversations": None}, "no_messages"),
        (
            {"conversations": [{"from": "function_call", "value": "{}"}]},
            "bad_tool_call",
        ),
        ({"prompt": SINGLE[:1], "completion": "Because."}, "not_text 'prompt'"),
        ({"messages": "Why?"}, "no_messages"),
        ({"messages": []}, "no_messages"),
        ({"messages": [SINGLE[0], {**SINGLE[1], "weight": 2}]}, "bad_weight"),
        ({"messages": [{**SINGLE[0], "weight": 1}, SINGLE[1]]}, "weight_not_on_answer"),
        ({"messages": [SINGLE[0], {**SINGLE[1], "weight": 0}]}, "nothing_to_learn"),
        ({"conversations": [{"from": "human", "value": "Why?", "train": True}]}, "weight_not_on_answer"),
        ({"text": " \n"}, "empty_text"),
        ({"text": None}, "empty_text"),
    ],
)
def test_what_is_no_conversation_is_unfit_for_a_reason(columns, reason):
    with pytest.raises(Unfit, match=f"^{reason}$"):
        FORMATS[detect_format(columns)].to_messages(columns)


@pytest.mark.parametrize("columns", [{}, {"question": "Why?"}, {"Text": "a"}, {"instruction": "Why?", "answer": "B."}])
def test_columns_without_the_marks_of_a_format_are_of_none(columns):
    assert detect_format(columns) is None


def test_any_table_is_mapped_by_templates():
    row = {"titel": "CWE-79", "frage": "Why?", "kontext": "A.", "antwort": "Because.", "rolle": "Be brief."}
    mapping = {
        "instruction": "{titel}: {frage}", "context": "{kontext}", "response": "{antwort}", "system": "{rolle}",
    }  # fmt: skip
    expected = said(("system", "Be brief."), ("user", "CWE-79: Why?\n\nA."), ("assistant", "Because."))
    assert drop_question_marks(map_columns(mapping, row)) == expected
    assert map_columns({"text": "{titel}. {antwort}"}, row) == said(("text", "CWE-79. Because."))


def test_a_mapped_column_that_a_row_lacks_is_unfit():
    with pytest.raises(Unfit, match="missing_column"):
        map_columns({"instruction": "{frage}", "response": "{antwort}"}, {"frage": "Why?"})


@pytest.mark.parametrize(
    ("part", "question"), [("context", "Why?"), ("system", "Why?"), ("instruction", None), ("response", None)]
)
def test_words_around_a_missing_value_are_left_out_or_the_row_is_unfit(part, question):
    mapping = {"instruction": "{q}", "response": "{a}", part: "About {year}: {q}"}
    row = {"q": "Why?", "a": "Because.", "year": None}
    if question:
        assert map_columns(mapping, row) == said(("user", question), ("assistant", "Because."))
        assert map_columns(mapping, {"q": "Why?", "a": "Because."}) == map_columns(mapping, row)
    else:
        with pytest.raises(Unfit, match=r"^missing_value 'year'$"):
            map_columns(mapping, row)
