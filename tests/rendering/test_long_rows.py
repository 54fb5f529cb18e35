"""Long rows: a context is cut at a sentence end, the question and the answer never, and the same way everywhere."""

from pathlib import Path

import pytest

from tunelock.answering.families import make_families
from tunelock.chatting.chat_model import ChatModel, ChatSettings
from tunelock.model.tuned import load_tuned
from tunelock.records.record import make_messages, question_in
from tunelock.rendering.conversation import render_prompt
from tunelock.rendering.label_check import find_mislabelled
from tunelock.rendering.long_rows import ANSWER_ROOM, CUT, find_context
from tunelock.rendering.rendering import Rendering, render_records, select_messages

SENTENCES = [f"Clause {number} says that the tenant pays the rent on time." for number in range(1, 80)]
CONTRACT = "\n\n".join(" ".join(SENTENCES[start : start + 5]) for start in range(0, 79, 5))
QUESTION = "May the tenant leave early?\n\nOptions:\n\n- True\n- False"
CUTTING = Rendering(256, long_rows="cut_context")


def record(messages: list[dict]) -> dict:
    return {"id": "a", "group": "g", "task": "t", "messages": messages}


def said(*contents: str, first: str = "user") -> list[dict]:
    """A conversation of these contents by turns."""
    roles = [first, *(["user", "assistant"] * len(contents) if first == "system" else ["assistant", "user"] * 9)]
    return [{"role": role, "content": content} for role, content in zip(roles, contents)]


def shown(tokenizer, messages: list[dict], rendering: Rendering = CUTTING) -> str:
    """The prompt and answer that a row has, as text."""
    rows, too_long, _ = render_records(tokenizer, [record(messages)], rendering)
    assert not too_long and len(rows[0]["input_ids"]) <= rendering.max_length
    return tokenizer.decode(rows[0]["input_ids"])


@pytest.mark.parametrize("first", [True, False])
def test_a_context_is_cut_behind_a_sentence_and_the_question_and_the_answer_are_whole(tokenizer, first):
    messages = make_messages(QUESTION, CONTRACT, "False, as clause 7 says.", context_first=first)
    text = shown(tokenizer, messages)
    assert QUESTION in text and "False, as clause 7 says.<|im_end|>" in text
    assert "Clause 1 says" in text and f"on time.{CUT}" in text and "Clause 70 says" not in text
    fewer = shown(tokenizer, messages, Rendering(200, long_rows="cut_context"))
    assert 0 < fewer.count("Clause") < text.count("Clause")


def test_as_much_of_a_context_stays_as_fits(tokenizer):
    messages = make_messages(QUESTION, CONTRACT, "False")
    row = render_records(tokenizer, [record(messages)], CUTTING).rows[0]
    prompt = row["prompt_length"]
    assert 256 - 64 - 20 < prompt <= 256 - 64  # a quarter of so small a max_length stays free for the answer
    long = render_records(tokenizer, [record(messages)], Rendering(700, long_rows="cut_context")).rows[0]
    assert 700 - ANSWER_ROOM - 20 < long["prompt_length"] <= 700 - ANSWER_ROOM
    assert row["context_cut"] > long["context_cut"] > 0


def test_rows_that_fit_and_rows_of_set_aside_are_not_touched(tokenizer):
    short, long = (record(make_messages(QUESTION, context, "False")) for context in ("So it is.", CONTRACT))
    kept = render_records(tokenizer, [short, long], Rendering(256))
    assert [len(part) for part in kept] == [1, 1, 0] and kept.rows[0]["context_cut"] == 0
    assert render_records(tokenizer, [short], CUTTING).rows == kept.rows


def test_training_evaluation_and_chat_see_the_same_prompt(tokenizer, tiny_model):
    records = [
        record(make_messages(QUESTION, CONTRACT, answer)) | {"id": answer, "group": answer, "task": "t"}
        for answer in ("True", "False, for it is a long lease.")
    ]
    rows = render_records(tokenizer, records, CUTTING).rows
    prompts = {tuple(row["input_ids"][: row["prompt_length"]]) for row in rows}
    assert len(prompts) == 1  # whatever the answer is
    families = make_families(tokenizer, records, rows, CUTTING, {"t": r"^- (.+)$"})
    prompts |= {tuple(family.take_prompt()) for family in families}
    assert len(families[0].options) == 2 and CUT in families[0].question
    [prompt] = prompts
    assert all(tuple(option["input_ids"][: len(prompt)]) == prompt for option in families[0].options)
    model = ChatModel(Path(tiny_model), ChatSettings("float32", 1, CUTTING, 4))
    model._tokenizer, model._model = tokenizer, load_tuned(Path(tiny_model), "float32")
    prompts.add(tuple(model._render(records[0]["messages"][:1])[0][0].tolist()))
    assert len(prompts) == 1
    assert find_mislabelled(tokenizer, records, rows, CUTTING) == []


def test_an_answer_longer_than_the_room_that_is_kept_takes_from_the_context_and_stays_whole(tokenizer):
    answer = " ".join(SENTENCES[:8])
    text = shown(tokenizer, make_messages(QUESTION, CONTRACT, answer))
    assert text.count(answer + "<|im_end|>") == 1 and QUESTION in text


def test_a_row_that_no_cut_makes_fit_is_too_long(tokenizer):
    answer, question = " ".join(SENTENCES), " ".join(SENTENCES)
    rows = [record(make_messages(QUESTION, CONTRACT, answer)), record(make_messages(question, "It is.", "Yes"))]
    rows.append(record(said(question, "Yes")))  # one paragraph: nothing says what of it is a context
    rows.append(record([{"role": "text", "content": CONTRACT}]))
    found = render_records(tokenizer, rows, CUTTING)
    assert [len(found.rows), len(found.too_long)] == [0, 4]
    assert found.too_long[0]["context_cut"] == 0


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        (said(f"{CONTRACT}\n\n{QUESTION}", "False"), QUESTION),
        (said(f"Answer with True or False.\n\n{CONTRACT}\n\nIs it so?", "False"), "Answer with True or False."),
        (said(f"Is it so?\n\n{CONTRACT.replace(chr(10), ' ')}", "False"), "Is it so?"),
        (said(f"{' '.join(SENTENCES)}\nIs it so?", "False"), "Is it so?"),
        (said(f"Know this.\n\n{CONTRACT}", "Is it so?", "False", first="system"), "Is it so?"),
        (said(f"{CONTRACT}\n\nWho pays?", "The tenant.", "Is it so?", "False"), "The tenant."),
    ],
)
def test_a_chat_without_marks_has_its_longest_stretch_of_paragraphs_as_context(tokenizer, messages, kept):
    text = shown(tokenizer, messages)
    assert kept in text and CUT in text and "False<|im_end|>" in text


def test_a_long_question_is_no_context():
    long = "Considering all that was said, " * 20 + "is it so?"
    assert find_context(said(f"A short passage.\n\n{long}", "Yes")[:1]) is None
    found = find_context(said(f"{CONTRACT}\n\n{long}\n\n- yes\n\n- no", "Yes")[:1])
    assert found.stop == len(CONTRACT)


@pytest.mark.parametrize(
    ("context", "end"),
    [
        ("第一条规定租户按时付租金。" * 60, "。" + CUT),
        ("يدفع المستأجر الإيجار في الوقت المحدد؟ " * 30, "؟" + CUT),
        ("word " * 400, "word" + CUT),
        ("租" * 700, "租" + CUT),
        ("Line without a stop\n" * 100, "stop" + CUT),
    ],
)
def test_texts_of_any_script_are_cut_where_they_can_be(tokenizer, context, end):
    text = shown(tokenizer, make_messages("Is it so?", context, "Yes", context_first=True))
    assert end in text and "Is it so?" in text


def test_what_repair_or_masks_change_of_a_context_leaves_the_question_whole(tokenizer):
    messages = make_messages(QUESTION, CONTRACT.replace("\n\n", "\r\n\r\n"), "False", context_first=True)
    messages[0]["content"] = messages[0]["content"].replace("\r\n", "\n").replace("tenant", "[NAME]")
    text = shown(tokenizer, messages)
    assert QUESTION.replace("tenant", "[NAME]") in text
    assert question_in(select_messages(tokenizer, record(messages), CUTTING)) in text
    assert len(render_prompt(tokenizer, messages[:1])) > 256
