"""What cleaning does to the calls of tools: their arguments are texts like any other."""

import json

from tests.cleaning.test_clean import ASKED, IP, MAIL, SECRET, judged
from tunelock.cleaning.judgement import WITHHELD
from tunelock.records.record import make_record, reference_of


def calling(arguments: dict, tools: str | None = None, content: str = "") -> dict:
    call = {"name": "send_mail", "arguments": json.dumps(arguments)}
    messages = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": content, "tool_calls": [call]},
    ]
    if tools:
        messages[0]["tools"] = tools
    return make_record(messages, "mine", "data/raw/a.jsonl", 1, "chat", None, None)


def arguments_of(record: dict) -> dict:
    return json.loads(record["messages"][-1]["tool_calls"][0]["arguments"])


def test_personal_data_in_arguments_is_masked_and_the_call_stays_whole():
    arguments = {"to": [MAIL], "body": f"Dear\n{MAIL}", "card": 4111111111111111, "copies": 2, "urgent": True}
    verdict = judged(calling(arguments))
    assert verdict.status == "kept" and verdict.record["messages"][-1]["content"] == ""
    assert arguments_of(verdict.record) == {
        "to": ["[EMAIL]"], "body": "Dear\n[EMAIL]", "card": "[CARD]", "copies": 2, "urgent": True,
    }  # fmt: skip
    assert [(place.kind, place.message) for place in verdict.found] == [("email", 1), ("email", 1), ("card", 1)]
    assert MAIL not in json.dumps(verdict.record)


def test_a_secret_in_an_argument_drops_the_record_and_an_address_flags_it():
    verdict = judged(calling({"token": SECRET}))
    assert verdict[1:3] == ("dropped", "pii_secret") and SECRET not in json.dumps(verdict.record)
    assert judged(calling({"host": f"Ping {IP} now."})).record["flags"] == ["ip"]


def test_personal_data_in_tools_is_masked():
    tools = json.dumps([{"type": "function", "function": {"name": "send_mail", "description": f"As {MAIL}."}}])
    record = judged(calling({"to": "you"}, tools)).record
    assert MAIL not in record["messages"][0]["tools"] and "[EMAIL]" in record["messages"][0]["tools"]


def test_arguments_are_mended_and_what_only_that_makes_visible_is_withheld():
    verdict = judged(calling({"to": "jo.doe@acme\x00-mail.com", "body": "A cafÃ©"}))
    assert arguments_of(verdict.record) == {"to": "[EMAIL]", "body": "A café"}
    assert set(json.loads(verdict.before[-1]["tool_calls"][0]["arguments"]).values()) == {WITHHELD}


def test_a_call_counts_as_the_answer_in_the_rules_about_one():
    assert judged(calling({"a": "b"})).status == "kept"
    long = judged(calling({"body": "The server wrote one line. " * 20}))
    assert long[1:3] == ("dropped", "too_long")
    assert reference_of(calling({"a": "b"})) == '{"name": "send_mail", "arguments": {"a": "b"}}'
    assert reference_of(calling({"a": "b"}, content="Yes.")).startswith('Yes.\n{"name"')


def test_personal_data_in_reasoning_is_masked_and_reasoning_is_no_part_of_the_answer():
    answer = {"role": "assistant", "content": "I have written to them.", "reasoning": f"Their address is {MAIL}."}
    record = make_record(
        [{"role": "user", "content": ASKED}, answer], "mine", "data/raw/a.jsonl", 1, "chat", None, None
    )
    verdict = judged(record)
    assert verdict.record["messages"][-1]["reasoning"] == "Their address is [EMAIL]."
    assert reference_of(verdict.record) == "I have written to them."
