"""Chats as people export them: whatever the roles are called and however a text is kept, the conversation is one."""

import csv
import json

import pytest

from tunelock.reading.chats import CHAT_COLUMNS
from tunelock.reading.formats import FORMATS, detect_format, list_columns_read
from tunelock.reading.reading import Source, read_source
from tunelock.reading.rows import Unfit
from tunelock.run.hashing import sha256_path

ASKED, ANSWERED = "Is it raining?", "Yes, since noon."
PLAIN = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
WEATHER = {"name": "get_weather", "description": "Tell the weather.", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": WEATHER}]
CALL = {"name": "get_weather", "arguments": '{"city": "Paris", "at": 12}'}


def read_row(columns: dict) -> list[dict]:
    return FORMATS[detect_format(columns)].to_messages(columns)


def why_unfit(columns: dict) -> str:
    with pytest.raises(Unfit) as unfit:
        read_row(columns)
    return str(unfit.value)


def said(user: str, assistant: str) -> list[dict]:
    return [{"from": user, "value": ASKED}, {"from": assistant, "value": ANSWERED}]


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("Human", "GPT"), ("USER", "ASSISTANT"), (" human", "gpt "), ("User:", "Chatbot"), ("user", "bot"),
        ("human", "model"), ("prompter", "AI"), ("HUMAN", "ChatGPT"),
    ],
)  # fmt: skip
def test_roles_are_known_whatever_their_case_and_blanks(user, assistant):
    assert read_row({"conversations": said(user, assistant)}) == PLAIN


@pytest.mark.parametrize("column", CHAT_COLUMNS)
@pytest.mark.parametrize(("who", "what"), [("role", "content"), ("from", "value"), ("speaker", "text")])
def test_turns_are_found_under_any_name_and_in_any_form(column, who, what):
    turns = [{who: "Human", what: ASKED, "id": None}, {who: "assistant", what: ANSWERED, "id": None}]
    assert read_row({"id": 7, column: turns}) == PLAIN


@pytest.mark.parametrize("apart", [True, False])
def test_of_preferences_the_chosen_conversation_is_the_chat(apart):
    chosen = PLAIN[1:] if apart else PLAIN
    row = {"prompt": PLAIN[:1], "chosen": chosen, "rejected": [{"role": "assistant", "content": "No idea."}]}
    assert read_row(row) == PLAIN
    assert list_columns_read("chatml", [row]) >= ({"prompt", "chosen"} if apart else {"chosen"})
    assert "rejected" not in list_columns_read("chatml", [row])


def test_keys_that_a_table_filled_with_nulls_are_not_there():
    turns = [{"role": None, "from": "human", "value": ASKED, "content": None, "tool_calls": None, "weight": None}]
    assert read_row({"messages": [*turns, {**PLAIN[1], "from": None, "value": None, "function_call": None}]}) == PLAIN


@pytest.mark.parametrize("role", ["System", "developer", "DEVELOPER "])
def test_a_developer_is_the_system(role):
    opening = {"role": "system", "content": "Be brief."}
    assert read_row({"messages": [{"role": role, "content": "Be brief."}, *PLAIN]}) == [opening, *PLAIN]
    assert read_row({"conversations": PLAIN, "system": "Be brief."}) == [opening, *PLAIN]
    assert read_row({"messages": [opening, *PLAIN], "system": "Be brief."}) == [opening, *PLAIN]
    assert why_unfit({"messages": [opening, *PLAIN], "system": "Be long."}) == "second_system"


def test_an_unknown_role_is_named():
    assert why_unfit({"conversations": said("narrator", "gpt")}) == "unknown_role 'narrator'"
    assert why_unfit({"messages": [{"role": None, "content": "a"}]}) == "unknown_role 'None'"
    assert len(why_unfit({"messages": [{"role": "x" * 500, "content": "a"}]})) < 60


def test_parts_that_are_text_are_joined():
    parts = [{"type": "text", "text": "Is it"}, {"type": "text", "text": "raining?"}]
    assert read_row({"messages": [{"role": "user", "content": parts}, PLAIN[1]]})[0]["content"] == "Is it\nraining?"
    for one in ([{"type": "input_text", "text": ASKED}], [{"text": ASKED}], [ASKED]):
        assert read_row({"messages": [{"role": "user", "content": one}, PLAIN[1]]}) == PLAIN


def test_a_part_that_is_no_text_sets_the_row_aside_for_that_reason():
    parts = [{"type": "text", "text": ASKED}, {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]
    assert why_unfit({"messages": [{"role": "user", "content": parts}, PLAIN[1]]}) == "part_not_text 'image_url'"
    assert why_unfit({"messages": [{"role": "user", "content": {"a": 1}}, PLAIN[1]]}) == "content_not_text"


@pytest.mark.parametrize(("given", "text"), [(4, "4"), (4.0, "4"), (0.5, "0.5"), (True, "true"), (False, "false")])
def test_numbers_and_truth_values_are_answers_in_one_form(given, text):
    assert read_row({"messages": [PLAIN[0], {"role": "assistant", "content": given}]})[1]["content"] == text
    assert read_row({"question": ASKED, "answer": given})[1]["content"] == text


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_a_table_of_texts_may_hold_a_chat(written, tmp_path):
    file = tmp_path / "chats.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["id", "messages"], [1, written([*PLAIN, PLAIN[0], PLAIN[1]])]])
    (record,) = read_source("chats", Source(str(file), sha256_path(file)))
    assert record["messages"] == [*PLAIN, *PLAIN]


def read_lines(tmp_path, *rows: dict) -> list[dict]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_source("rows", Source(str(file), sha256_path(file))))


def test_a_question_at_the_end_is_cut_and_counted(tmp_path):
    more = [{"role": "user", "content": "And tomorrow?"}]
    plain, cut, alone = read_lines(
        tmp_path, {"messages": PLAIN}, {"messages": PLAIN + more}, {"messages": [*PLAIN[:1], *more]}
    )
    assert cut["messages"] == plain["messages"] == PLAIN and cut["id"] == plain["id"]
    assert cut["repairs"] == ["trailing_question"] and "repairs" not in plain
    assert alone["reason"] == "roles_not_alternating"
    (only,) = read_lines(tmp_path, {"messages": PLAIN[:1]})
    assert only["reason"] == "missing_answer"


def test_one_file_may_mix_the_names_of_columns(tmp_path):
    records = read_lines(tmp_path, {"messages": PLAIN}, {"conversations": said("Human", "GPT")}, {"dialog": PLAIN})
    assert [record["messages"] for record in records] == [PLAIN] * 3


def called(turn: dict, *results: dict) -> list[dict]:
    return [PLAIN[0], turn, *results, PLAIN[1]]


RESULT = {"role": "tool", "content": "Rain", "tool_call_id": "a1", "name": "get_weather"}
OPENAI = {"id": "a1", "type": "function", "function": CALL}


@pytest.mark.parametrize(
    "columns",
    [
        {"tools": TOOLS, "messages": called({"role": "assistant", "content": None, "tool_calls": [OPENAI]}, RESULT)},
        {
            "tools": json.dumps(TOOLS),
            "messages": called({"role": "assistant", "tool_calls": json.dumps([OPENAI])}, RESULT),
        },
        {
            "functions": [WEATHER],
            "messages": called(
                {"role": "assistant", "content": None, "function_call": CALL},
                {"role": "function", "name": "get_weather", "content": "Rain"},
            ),
        },
        {
            "tools": json.dumps([WEATHER]),
            "conversations": [
                {"from": "human", "value": ASKED},
                {"from": "function_call", "value": json.dumps({**CALL, "arguments": json.loads(CALL["arguments"])})},
                {"from": "observation", "value": "Rain"},
                {"from": "gpt", "value": ANSWERED},
            ],
        },
    ],
    ids=["openai", "json in text", "legacy", "sharegpt"],
)  # fmt: skip
def test_calls_of_tools_are_read_in_every_shape(columns):
    messages = read_row(columns)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert json.loads(messages[0]["tools"]) == TOOLS
    call = messages[1]["tool_calls"][0]
    assert (call["name"], call["arguments"]) == (CALL["name"], CALL["arguments"]) and messages[1]["content"] == ""
    assert messages[2]["content"] == "Rain"


def test_calls_in_turns_of_their_own_join_what_is_said_before_them():
    turn = {"from": "function_call", "value": json.dumps(CALL)}
    asked = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "I look."}, turn, turn]
    messages = read_row({"conversations": asked})
    assert len(messages) == 2 and messages[1]["content"] == "I look." and len(messages[1]["tool_calls"]) == 2
    assert why_unfit({"conversations": [*asked[:3], {**turn, "weight": 0}]}) == "bad_weight"


@pytest.mark.parametrize(
    "call", [{"arguments": "{}"}, {"name": "f", "arguments": "{no json"}, {"name": "f", "arguments": "[1]"}, "no json"]
)
def test_a_call_that_is_none_sets_the_row_aside(call):
    calls = call if isinstance(call, str) else [call]
    assert why_unfit({"messages": [PLAIN[0], {"role": "assistant", "tool_calls": calls}]}) == "bad_tool_call"
    assert why_unfit({"messages": PLAIN, "tools": "no json"}) == "bad_tools"


def test_a_call_keeps_the_order_of_its_arguments_and_loses_what_a_table_filled_up():
    arguments = {"z": 1, "a": None, "m": [{"y": None, "x": "é"}]}
    turn = {"role": "assistant", "tool_calls": [{**CALL, "arguments": arguments}]}
    (call,) = read_row({"messages": [PLAIN[0], turn]})[1]["tool_calls"]
    assert call["arguments"] == '{"z": 1, "m": [{"x": "é"}]}'


def test_tools_that_the_system_message_describes_are_not_told_twice():
    opening = {"role": "system", "content": f"You may call <tools>{json.dumps(TOOLS)}</tools>."}
    assert "tools" not in read_row({"messages": [opening, *PLAIN], "tools": TOOLS})[0]
    assert "tools" in read_row({"messages": [{**opening, "content": "Be brief."}, *PLAIN], "tools": TOOLS})[0]


def test_a_tool_may_answer_with_any_json():
    turn = {"role": "assistant", "tool_calls": [CALL]}
    messages = read_row({"messages": called(turn, {"role": "tool", "content": {"rain": True, "mm": [1, 2]}})})
    assert messages[2]["content"] == '{"rain": true, "mm": [1, 2]}'
