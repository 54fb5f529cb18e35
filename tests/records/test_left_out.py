"""The table of rows left out: each reason with its count, share, param, and a row to open."""

from tunelock.records.left_out import LeftOutTally, format_left_out
from tunelock.records.record import make_messages, make_record


def record(question: str, line: int) -> dict:
    messages = make_messages(question, "", "An answer.", "Be brief.")
    return make_record(messages, "mine", "data/raw/a.csv", line, "chat", None, None)


def test_each_reason_has_count_share_param_and_a_row():
    tally, first = LeftOutTally(), record("Why is\nit so? " + "And how? " * 20, 17)
    for row in (first, record("Another?", 18)):
        tally.note_row("too_long", row)
    tally.note_row("not_json", {"file": "data/raw/b.jsonl", "line": 3, "raw": "{\x1b[31m", "source": "mine"})
    title, head, *lines = format_left_out("clean drops", tally, 10, {"too_long": "max_response_chars: 12"}).splitlines()
    assert title == "clean drops: 3 of 10 rows (30.0 %)"
    assert head.split() == ["reason", "rows", "share", "ruled", "by"]
    assert lines[0].split() == ["too_long", "2", "20.0", "%", "max_response_chars:", "12"]
    assert lines[1].strip().startswith(f"e.g. {first['id']}, data/raw/a.csv:17: Why is it so? And how?")
    assert lines[1].endswith("…")
    assert lines[2].split() == ["not_json", "1", "10.0", "%", "no", "param"]
    assert lines[3].strip() == "e.g. data/raw/b.jsonl:3: { [31m"


def test_a_few_of_many_rows_are_not_none():
    tally = LeftOutTally()
    tally.note_rows("too_long", 2, record("Why?", 1))
    assert "< 0.1 %" in format_left_out("clean drops", tally, 1_000_000, {})
