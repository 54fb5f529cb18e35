"""Options are found in questions, and their losses are log-likelihoods of a continuation."""

import pytest
import torch

from tunelock.answering.choices import find_choice, list_options, render_option
from tunelock.answering.contrast import pick_wrong_answers
from tunelock.answering.scoring import score_rows
from tunelock.model.modeling import load_model
from tunelock.records.record import make_messages
from tunelock.rendering.rendering import IGNORE, find_end_token, render_prompt

LISTED = make_messages("Which one?\n- CWE-1: A thing\n- CWE-2: Another\nno option", "", "CWE-2: Another")


def test_options_are_the_lines_that_match_once_each():
    assert list_options(LISTED, r"^- (.+)$") == ["CWE-1: A thing", "CWE-2: Another"]
    assert list_options(make_messages("a)\nb)\na)", "", "x"), r"^\w\)") == ["a)", "b)"]
    assert list_options(LISTED, r"^\* (.+)$") == []


def test_an_empty_line_and_a_group_that_takes_no_part_are_no_option():
    asked = make_messages("Which?\n- \n-   \n- a\n* b\n- c", "", "c")
    assert list_options(asked, r"^- (.*)$") == ["a", "c"]
    assert find_choice(asked, r"^- (.*)$") == (["a", "c"], 1)
    assert list_options(asked, r"^- (.+)$|^\* b") == ["a", "c"]


def test_only_the_last_question_has_options():
    said = [*LISTED, {"role": "user", "content": "And now?\n- yes\n- no"}, {"role": "assistant", "content": "no"}]
    assert find_choice(said, r"^- (.+)$") == (["yes", "no"], 1)


def test_an_answer_that_is_no_option_and_a_single_option_are_no_choice():
    assert find_choice(LISTED, r"^- (.+)$") == (["CWE-1: A thing", "CWE-2: Another"], 1)
    assert find_choice(make_messages("Which?\n- a\n- b", "", "c"), r"^- (.+)$") is None
    assert find_choice(make_messages("Which?\n- a", "", "a"), r"^- (.+)$") is None
    assert find_choice([{"role": "text", "content": "- a\n- b"}], r"^- (.+)$") is None


def test_an_options_loss_is_its_log_likelihood_behind_the_prompt_without_end(tiny_model, tokenizer):
    model, option = load_model(tiny_model, "float32"), "CWE-1: A thing"
    row = render_option(tokenizer, LISTED, option)
    prompt = render_prompt(tokenizer, LISTED[:-1])
    tokens = tokenizer(option, add_special_tokens=False).input_ids
    assert row["input_ids"] == prompt + tokens
    assert [label for label in row["labels"] if label != IGNORE] == tokens and find_end_token(tokenizer) not in tokens
    with torch.no_grad():
        shares = model(input_ids=torch.tensor([prompt + tokens])).logits[0].double().log_softmax(-1)
    wanted = -sum(shares[len(prompt) - 1 + place, token].item() for place, token in enumerate(tokens))
    [found] = score_rows(model, [row], 1)
    assert (found.loss, found.tokens) == (pytest.approx(wanted, rel=1e-5), len(tokens))


def record(number: int, group: str, answer: str, task: str = "t") -> dict:
    return {"id": f"r-{number}", "group": group, "task": task, "messages": make_messages(f"q{number}", "", answer)}


def test_the_other_answer_is_the_nearest_in_length_of_another_group_and_the_same_task():
    rows = [
        record(0, "a", "zero"), record(1, "a", "one"), record(2, "b", "two"), record(3, "c", "three"),
        record(4, "d", "four", "other"),
    ]  # fmt: skip
    assert pick_wrong_answers(rows, [10, 11, 14, 40, 10]) == [2, 2, 1, 2, None]


def test_the_other_answer_says_something_else_and_does_not_hang_on_the_order():
    rows = [record(0, "a", "Same."), record(1, "b", "same. "), record(2, "c", "Other.")]
    assert pick_wrong_answers(rows, [5, 5, 9]) == [2, 2, 1]
    assert pick_wrong_answers(rows[::-1], [9, 5, 5]) == [1, 0, 0]
    assert pick_wrong_answers(rows[:2], [5, 5]) == [None, None]
    text = {"id": "t", "group": "x", "task": "t", "messages": [{"role": "text", "content": "raw"}]}
    assert pick_wrong_answers([text, rows[0]], [3, 3]) == [None, None]
