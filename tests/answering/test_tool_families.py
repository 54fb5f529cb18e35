"""Questions whose answer is a call of a tool: what is right, what is wrong, and what cannot be asked at all."""

import copy
import json
from pathlib import Path

import pytest

from stages.evaluate import make_held_out_families
from tunelock.records.record import make_messages
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import Rendering

TOOLS = json.dumps([{"type": "function", "function": {"name": "get_weather"}}])


@pytest.fixture(scope="module")
def knowing(tokenizer):
    """The tokenizer with a template that writes tools and calls."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = Path("templates/chatml-tools.jinja").read_text()
    return other


def calling(line: int, city: str) -> dict:
    call = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    messages = [
        {"role": "user", "content": f"Does it rain in {city}?", "tools": TOOLS},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    return made(line, messages)


def made(line: int, messages: list[dict]) -> dict:
    about = {"id": f"r-{line:016x}", "group": str(line), "task": "chat", "file": "data/raw/a.jsonl", "line": line}
    return about | {"messages": messages}


def plain(line: int) -> dict:
    return made(line, make_messages(f"Is {line} even?", "", "No, it is odd."))


def test_the_reference_is_what_the_template_writes_and_the_wrong_answer_is_another_call(knowing):
    families = make_held_out_families(knowing, [calling(1, "Paris"), calling(2, "Lyon")], Rendering(512), None)
    assert families[0].reference == '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    other = families[0].other
    learnt = knowing.decode([label for label in other["labels"] if label != IGNORE])
    assert families[0].other_id == calling(2, "Lyon")["id"]
    assert learnt == families[1].reference + "<|im_end|>" and "Paris" in knowing.decode(other["input_ids"])


def test_a_question_that_the_template_cannot_ask_is_left_out_and_told(tokenizer, capsys):
    families = make_held_out_families(tokenizer, [plain(1), calling(2, "Paris"), plain(3)], Rendering(512), None)
    assert [family.record["line"] for family in families] == [1, 3]
    assert families[0].reference == "No, it is odd."
    assert "1 of 3 rows" in capsys.readouterr().err


def test_a_wrong_answer_that_the_template_cannot_say_is_none(tokenizer, knowing):
    def without_tools(record: dict) -> dict:
        return record | {"messages": [{k: v for k, v in m.items() if k != "tools"} for m in record["messages"]]}

    only_text = copy.deepcopy(knowing)
    refuse = "{% if message['tool_calls'] and 'even' in messages[0]['content'] %}{{ raise_exception('no') }}{% endif %}"
    start = "{%- for message in messages -%}"
    only_text.chat_template = knowing.chat_template.replace(start, start + refuse)
    records = [plain(1), without_tools(calling(2, "Paris"))]
    asked, _ = make_held_out_families(only_text, records, Rendering(512), None)
    assert asked.other is None and asked.other_id is None
