"""The chat templates of today: rendered as a model is asked and answers, or refused with a way out."""

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.make_templates import CASES, PAGE, TEMPLATES, build_tokenizer, make_page, survey_templates
from stages.evaluate import add_answers
from tunelock.records.record import make_messages
from tunelock.rendering.conversation import IGNORE, find_end_token, render_messages, render_prompt
from tunelock.rendering.label_check import find_mislabelled
from tunelock.rendering.refused import list_refused, print_unlearnt
from tunelock.rendering.rendering import Rendering, render_records, select_messages
from tunelock.rendering.template import TemplateRefusal
from tunelock.rendering.written_answer import split_written
from tunelock.run.errors import Stop

FOR_IMAGES = {"idefics3", "llava_next", "smolvlm"}
FILES = {file.stem: file for file in TEMPLATES}
ASKED = make_messages("Does it rain?", "", "It is dry.")
THOUGHTFUL = [ASKED[0], {**ASKED[1], "reasoning": "Look at the sky."}]


@pytest.fixture(scope="module")
def surveys():
    return list(survey_templates())


@functools.cache
def with_template(name: str):
    return build_tokenizer(FILES[name].read_text(encoding="utf-8"))


def learnt_text(tokenizer, labels: list[int]) -> str:
    return tokenizer.decode([label for label in labels if label != IGNORE])


def test_the_page_says_what_the_templates_can_say(surveys):
    assert PAGE.read_text(encoding="utf-8") == make_page(surveys), "run `make docs`"


def test_templates_for_images_alone_are_refused_for_plain_chats(surveys):
    for plain in ("one", "two", "none", "keep", "empty"):
        refused = {name.removesuffix("_training") for name, _, found in surveys if isinstance(found[plain], Stop)}
        assert refused == FOR_IMAGES


def test_each_refusal_is_a_template_s_and_names_a_way_out(surveys):
    for name, _, found in surveys:
        for refusal in found.values():
            assert not isinstance(refusal, Stop) or "set a" in str(refusal), (name, str(refusal))


def test_what_a_model_is_asked_with_is_what_it_was_trained_behind(surveys):
    for name, tokenizer, found in surveys:
        for case, row in found.items():
            if isinstance(row, Stop):
                continue
            rendering, record = Rendering(4096, thinking=CASES[case].thinking), CASES[case].make_record()
            asked = select_messages(tokenizer, record, rendering)[:-1]
            assert row["input_ids"][: row["prompt_length"]] == render_prompt(tokenizer, asked, rendering.thinking), name
            assert find_mislabelled(tokenizer, [record], [row], rendering) == [], (name, case)


def test_a_written_answer_is_parted_from_its_reasoning(surveys):
    for name, tokenizer, found in surveys:
        for case in ("none", "keep", "empty"):
            row = found[case]
            if isinstance(row, Stop):
                continue
            written = [label for label in row["labels"][row["prompt_length"] :] if label != IGNORE]
            thought = split_written(tokenizer, written, (written[-1],), case)
            assert thought.answer.strip() == "Still dry.", (name, case)
            assert ("Look at the sky." in (thought.reasoning or "")) == (case == "keep"), (name, case)


def test_metrics_read_the_answer_behind_its_reasoning_and_the_file_keeps_both():
    tokenizer = with_template("qwen3")
    end = find_end_token(tokenizer)
    written = ["<think>\nLook.\n</think>\n\nDry.", "<think>\nLook, and", "Dry."]
    rows, tokens = [{}, {}, {}], [[*tokenizer.encode(text), end] for text in written]
    add_answers(rows, tokens, tokenizer, (end,), "keep")
    assert [row["answer"] for row in rows] == ["Dry.", "", "Dry."]
    assert ["Look" in row.get("reasoning", "") for row in rows] == [True, True, False]


LEARNT = {
    ("qwen3", "none"): ("assistant\n<think>\n\n</think>\n\n", "It is dry.<|im_end|>"),
    ("qwen3", "keep"): ("assistant\n", "<think>\nLook at the sky.\n</think>\n\nIt is dry.<|im_end|>"),
    ("qwen3", "empty"): ("assistant\n", "<think>\n\n</think>\n\nIt is dry.<|im_end|>"),
    ("deepseek_r1_distill", "none"): ("<｜Assistant｜>", "It is dry.<｜end▁of▁sentence｜>"),
    ("deepseek_r1_distill", "keep"): (
        "<｜Assistant｜><think>\n",
        "Look at the sky.\n</think>\n\nIt is dry.<｜end▁of▁sentence｜>",
    ),
    ("deepseek_r1_distill", "empty"): (
        "<｜Assistant｜><think>\n",
        "\n</think>\n\nIt is dry.<｜end▁of▁sentence｜>",
    ),
    ("gptoss", "none"): ("<|start|>assistant<|channel|>final<|message|>", "It is dry.<|return|>"),
    ("gptoss", "empty"): ("<|start|>assistant", "<|channel|>final<|message|>It is dry.<|return|>"),
    ("glm4moe", "none"): ("/nothink<|assistant|>\n<think></think>", "\nIt is dry.<|user|>"),
    ("glm4moe", "keep"): ("<|assistant|>", "\n<think>Look at the sky.</think>\nIt is dry.<|user|>"),
    ("nemotron_3_nano", "empty"): ("<think>\n", "\n</think>\nIt is dry.<|im_end|>"),
}


@pytest.mark.parametrize(("name", "thinking"), LEARNT)
def test_thinking_says_what_is_asked_and_what_is_learnt(name, thinking):
    tokenizer = with_template(name)
    record = {"id": "r-0000000000000001", "messages": THOUGHTFUL, "file": "a", "line": 1}
    (row,) = render_records(tokenizer, [record], Rendering(4096, thinking=thinking)).rows
    asked, answer = LEARNT[name, thinking]
    assert tokenizer.decode(row["input_ids"][: row["prompt_length"]]).endswith(asked)
    assert learnt_text(tokenizer, row["labels"]) == answer
    assert row["reasoning_left_out"] == (thinking != "keep")
    assert answer.endswith(tokenizer.decode([find_end_token(tokenizer)]))


def test_earlier_answers_that_a_template_strips_are_context_and_said(capsys):
    record = {"id": "r-0000000000000001", "messages": [*THOUGHTFUL, *ASKED], "file": "a", "line": 1}
    rows = {name: render_records(with_template(name), [record], Rendering(4096)).rows for name in ("qwen3", "phi3")}
    assert [row["answers_not_learnt"] for (row,) in rows.values()] == [1, 0]
    assert learnt_text(with_template("phi3"), rows["phi3"][0]["labels"]) == "It is dry.<|end|>" * 2
    print_unlearnt("train", rows["qwen3"], "none")
    said = capsys.readouterr().err
    assert "train: 1 earlier answers in 1 rows are read and not learnt" in said
    assert "the reasoning of 1 answers is left out by thinking: none" in said
    print_unlearnt(
        "train", render_records(with_template("phi3"), [record], Rendering(4096, thinking="keep")).rows, "keep"
    )
    assert capsys.readouterr().err == ""


def test_a_row_that_a_template_refuses_is_set_aside_with_its_line():
    plain = {"id": "r-0000000000000007", "messages": ASKED, "file": "a.jsonl", "line": 7}
    refused = {**plain, "messages": [{"role": "system", "content": "Be brief."}, *ASKED], "line": 8}
    records = [plain, refused]
    found = render_records(with_template("gemma"), records, Rendering(4096))
    assert len(found.rows) == 1
    assert [(one["file"], one["line"], one["reason"]) for one in list_refused(found.refused)] == [
        ("a.jsonl", 8, "template_refuses")
    ]
    assert "put the system message into the first question" in found.refused[0].why


BITS = [*"ab \n\t<>|/é。'\"{}", "<think>", "</think>", "<|im_end|>", "</s>"]
TEXTS = st.lists(st.sampled_from(BITS), min_size=1, max_size=8).map("".join).filter(str.strip)
SOME = ("qwen3", "qwen3_8", "deepseek_r1_distill", "glm4moe", "gptoss", "nemotron_3_nano", "llama3", "cohere2", "phi3")


@st.composite
def conversations(draw) -> list[dict]:
    """A chat of one to three turns: some answers have reasoning, some earlier ones weight 0, some call a tool first."""
    messages = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    turns = draw(st.integers(1, 3))
    for turn in range(turns):
        messages.append({"role": "user", "content": draw(TEXTS)})
        if draw(st.integers(0, 3)) == 0:
            call = {"name": "look", "arguments": json.dumps({"at": draw(TEXTS)}), "id": "call00001"}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "content": draw(TEXTS), "name": "look", "tool_call_id": "call00001"})
        answer = {"role": "assistant", "content": draw(TEXTS)}
        if draw(st.booleans()):
            answer["reasoning"] = draw(TEXTS)
        if turn < turns - 1 and draw(st.integers(0, 3)) == 0:
            answer["weight"] = 0
        messages.append(answer)
    return messages


@settings(max_examples=120, derandomize=True, deadline=None)
@given(st.sampled_from(SOME), st.sampled_from(["none", "keep", "empty"]), conversations())
def test_any_conversation_is_rendered_as_it_is_asked_or_refused(name, thinking, messages):
    tokenizer, rendering = with_template(name), Rendering(10**6, thinking=thinking)
    record = {"id": "r-0000000000000001", "messages": messages, "file": "a", "line": 1}
    asked = select_messages(tokenizer, record, rendering)
    try:
        rendered = render_messages(tokenizer, asked, thinking)
    except TemplateRefusal as refusal:
        assert refusal.reason and str(refusal).endswith(".")
        return
    row = {"id": record["id"], **rendered._asdict()}
    assert rendered.input_ids[: rendered.prompt_length] == render_prompt(tokenizer, asked[:-1], thinking)
    assert find_mislabelled(tokenizer, [record], [row], rendering) == []
