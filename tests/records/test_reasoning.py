"""Reasoning before an answer: found in the shapes in which people keep it, and kept apart from the answer."""

import pytest

from tunelock.reading.formats import FORMATS
from tunelock.reading.rows import Unfit
from tunelock.records.reasoning import split_reasoning


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\nLook.\n</think>\n\n    x = 1", "Look.", "    x = 1"),
        ("Look.\nAgain.\n</think>\n\nDry.", "Look.\nAgain.", "Dry."),  # as R1 writes behind an open tag of its prompt
        ("[THINK]Look.[/THINK]Dry.", "Look.", "Dry."),
        ("<think>\n\n</think>\n\nDry.", "", "Dry."),
        ("<think>Look, and look", "<think>Look, and look", ""),
        ("Use the `</think>` tag.", None, "Use the `</think>` tag."),
        ("Dry. <think>Look.</think>", None, "Dry. <think>Look.</think>"),
    ],
)
def test_reasoning_is_what_an_answer_begins_with(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)


QUESTION = {"role": "user", "content": "Does it rain?"}


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "<think>\nLook.\n</think>\n\nDry."},
        {"content": "Dry.", "reasoning_content": "Look."},
        {"content": "Dry.", "thinking": "Look."},
        {"content": [{"type": "thinking", "thinking": "Look."}, {"type": "text", "text": "Dry."}]},
    ],
)
def test_each_shape_of_reasoning_becomes_the_same_message(answer):
    read = FORMATS["chatml"].to_messages({"messages": [QUESTION, {"role": "assistant", **answer}]})
    assert read == [QUESTION, {"role": "assistant", "content": "Dry.", "reasoning": "Look."}]
    assert FORMATS["chatml"].to_messages(FORMATS["chatml"].from_messages(read)) == read
    assert FORMATS["sharegpt"].to_messages(FORMATS["sharegpt"].from_messages(read)) == read
    assert FORMATS["qa"].to_messages({"question": "Does it rain?", "answer": "<think>Look.</think>Dry."}) == read


@pytest.mark.parametrize("said", ["<think>Look.</think>", "<think>Look, and"])
def test_reasoning_without_an_answer_is_no_answer(said):
    for name, columns in {
        "qa": {"question": "Why?", "answer": said},
        "chatml": {"messages": [QUESTION, {"role": "assistant", "content": said}]},
    }.items():
        with pytest.raises(Unfit, match="empty_answer"):
            FORMATS[name].to_messages(columns)
