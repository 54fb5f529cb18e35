"""Options are found in questions, and their losses are log-likelihoods of a continuation."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from tunelock.answering import near_ties
from tunelock.answering.choices import find_choice, list_options, render_option
from tunelock.answering.contrast import pick_wrong_answers
from tunelock.answering.families import Family, make_families, score_questions
from tunelock.answering.near_ties import settle_near_ties
from tunelock.answering.scoring import score_rows
from tunelock.model.modeling import load_model
from tunelock.records.record import make_messages
from tunelock.rendering.conversation import IGNORE, find_end_token, render_prompt
from tunelock.rendering.rendering import Rendering, render_records

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
    row = render_option(tokenizer, LISTED, option, "none")
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


NAMES = ["red", "blue", "green", "black", "white", "pink", "gold", "grey", "salt", "iron", "rice", "milk", "wine"]


@pytest.fixture(scope="module")
def sharp_model(tiny_model, tokenizer, tmp_path_factory) -> Path:
    """The tiny model with large logits that differ little among NAMES: bfloat16 has them in steps of 1/8."""
    folder = tmp_path_factory.mktemp("sharp")
    model = load_model(tiny_model, "float32")
    with torch.no_grad():
        model.model.norm.weight *= 100
        tokens = tokenizer([f"\n{name}" for name in NAMES], add_special_tokens=False).input_ids
        places, weight = [row[-1] for row in tokens], model.get_input_embeddings().weight
        weight[places] = weight[places[0]] + 0.02 * weight[places]
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ask_names(tokenizer: PreTrainedTokenizerBase) -> list[Family]:
    """Forty questions with four options of one or two tokens."""
    records = []
    for number in range(40):
        options = [NAMES[(number + step * (1 + number // 13)) % len(NAMES)] for step in range(4)]
        listed = "\n".join(f"- {option}" for option in options)
        messages = make_messages(f"Which one is number {number}?\n{listed}", "", options[0])
        records.append({"id": f"q{number}", "group": f"g{number}", "task": "pick", "messages": messages})
    rows = render_records(tokenizer, records, Rendering(256)).rows
    return make_families(tokenizer, records, rows, Rendering(256), {"pick": r"^- (.+)$"})


def choose(rows: list[dict]) -> list[int]:
    return [row["choice_losses"].index(min(row["choice_losses"])) for row in rows]


def test_choices_that_bfloat16_can_hardly_tell_apart_are_those_of_float32(sharp_model, tokenizer, capsys):
    families, rows = ask_names(tokenizer), {}
    for dtype in ("bfloat16", "float32"):
        rows[dtype] = [one.row for one in score_questions(load_model(sharp_model, dtype), families, "test", 10)]
    exact, rough = choose(rows["float32"]), choose(rows["bfloat16"])
    assert exact != rough  # or there is nothing to settle here
    far = [row for family, row in zip(families, rows["bfloat16"]) if not near_ties._is_near_tie(family, row)]
    settle_near_ties(str(sharp_model), "bfloat16", {"test": families}, {"test": rows["bfloat16"]}, 10)
    assert choose(rows["bfloat16"]) == exact and far
    said, changed = capsys.readouterr().err, sum(a != b for a, b in zip(exact, rough))
    assert f"choices: {40 - len(far)} of 40 rows have two options that bfloat16 can hardly tell apart" in said
    assert f"which changed {changed} choices" in said


def test_in_float32_nothing_is_scored_again_and_without_room_it_is_said(sharp_model, tokenizer, capsys, monkeypatch):
    families = ask_names(tokenizer)[:2]
    rows = [{"choice_losses": [1.0] * len(family.options)} for family in families]
    settle_near_ties(str(sharp_model), "float32", {"test": families}, {"test": rows}, 10)
    assert capsys.readouterr().err == "" and rows[0]["choice_losses"][0] == 1.0
    monkeypatch.setattr(near_ties, "_has_room", lambda folder: False)
    settle_near_ties(str(sharp_model), "bfloat16", {"test": families}, {"test": rows}, 10)
    assert "choices: 2 of 2 rows" in (said := capsys.readouterr().err) and "they stay so" in said
    assert rows[0]["choice_losses"][0] == 1.0
