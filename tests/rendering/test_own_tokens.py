"""Tokens of one's own are learnt as tokens wherever a text has them, shown in answers, and missed if absent."""

import copy

import pytest

from stages.evaluate import add_answers
from tests.rendering.small_tokenizers import KINDS, TEMPLATES, make_small_tokenizer
from tunelock.records.record import Message, make_messages, make_record
from tunelock.rendering.controls import find_control_tokens
from tunelock.rendering.conversation import IGNORE, find_end_token, render_messages, render_prompt
from tunelock.rendering.label_check import find_mislabelled, find_unused_tokens, print_plain_controls
from tunelock.rendering.rendering import Rendering, load_tokenizer, render_records
from tunelock.rendering.tokenizer_folder import save_tokenizer
from tunelock.rendering.vocabulary import register_tokens

OWN = ["<|code|>", "<|sql|>"]
WHOLE = Rendering(256)


def with_own(tmp_path, kind: str = "GPT-2", tokens=tuple(OWN)):
    """A small tokenizer with tokens of one's own, saved and loaded as the stages do it, and their ids."""
    tokenizer = copy.deepcopy(make_small_tokenizer(kind))
    ids = register_tokens(tokenizer, tokens)
    save_tokenizer(tokenizer, tmp_path)
    return load_tokenizer(tmp_path), ids


def learnt(rendered) -> list[int]:
    return [label for label in rendered.labels if label != IGNORE]


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_ones_own_is_learnt_in_answers_and_read_in_prompts(kind, tmp_path):
    tokenizer, (code, sql) = with_own(tmp_path, kind)
    messages = make_messages("In <|sql|>?", "", "<|code|>x = 1", system="<|sql|> Paris")
    rendered = render_messages(tokenizer, messages)
    assert learnt(rendered)[0] == code and rendered.input_ids.count(code) == 1
    assert rendered.input_ids[: rendered.prompt_length].count(sql) == 2 and rendered.controls == 0
    assert rendered.input_ids[: rendered.prompt_length] == render_prompt(tokenizer, messages[:-1])
    assert sql in render_messages(tokenizer, [Message(role="text", content="In <|sql|> Paris")]).labels


def test_it_stays_a_token_beside_control_strings_which_stay_plain_text(tmp_path):
    tokenizer, (code, _) = with_own(tmp_path)
    rendered = render_messages(tokenizer, make_messages("<|end|> <|code|>", "", "<|start|><|code|>x"))
    assert rendered.input_ids.count(code) == 2 and rendered.controls == 2
    assert [rendered.input_ids.count(token) for token in (3, 4)] == [2, 2]  # the turns, their ends


def test_answers_show_it_without_the_end_token(tmp_path):
    tokenizer, (code, _) = with_own(tmp_path)
    rows, end = [{}], find_end_token(tokenizer)
    add_answers(rows, [[code, *tokenizer.encode("x = 1"), end]], tokenizer, (end,))
    assert rows[0]["answer"] == "<|code|>x = 1" and rows[0]["stopped"]


def test_a_token_that_the_vocabulary_keeps_for_itself_becomes_ones_own(tmp_path):
    tokenizer, ids = with_own(tmp_path, tokens=["</s>"])
    assert ids == [2] and "</s>" not in find_control_tokens(tokenizer)
    assert learnt(render_messages(tokenizer, make_messages("In?", "", "x</s>1")))[1] == 2


def test_what_the_template_writes_stays_a_control_token(tmp_path):
    tokenizer, ids = with_own(tmp_path, tokens=["<|start|>", "<|end|>", "<s>"])
    assert ids == [3, 4, 1] and find_control_tokens(tokenizer).keys() >= {"<|start|>", "<|end|>", "<s>"}
    bare = copy.deepcopy(make_small_tokenizer("GPT-2"))
    bare.chat_template = TEMPLATES["chatml"].replace("<|start|>", "<|turn|>").replace("<|end|>", "<|over|>")
    turn, over = register_tokens(bare, ["<|turn|>", "<|over|>"])
    rendered = render_messages(bare, make_messages("<|turn|>", "", "er<|over|>"))
    assert learnt(rendered)[-1] == over and rendered.controls == 2
    assert (rendered.input_ids.count(turn), rendered.input_ids.count(over)) == (2, 2)


def test_a_plain_token_that_ends_an_answer_becomes_a_control_token_and_one_that_opens_it_stays_plain():
    tokenizer = copy.deepcopy(make_small_tokenizer("GPT-2"))
    tokenizer.chat_template = TEMPLATES["chatml"].replace("<|end|>", "<|over|>").replace("assistant\n", "assistant<in>")
    ids = tokenizer.convert_tokens_to_ids(["<|over|>", "<in>"]) if tokenizer.add_tokens(["<|over|>", "<in>"]) else []
    assert register_tokens(tokenizer, ["<|over|>", "<in>"]) == ids
    assert "<|over|>" in find_control_tokens(tokenizer) and "<in>" not in find_control_tokens(tokenizer)


def test_an_added_token_that_is_no_control_token_is_in_a_text_what_servers_make_of_it():
    tokenizer = copy.deepcopy(make_small_tokenizer("GPT-2"))
    tokenizer.add_tokens(["<tool>"])
    messages = make_messages("In <tool>?", "", "Yes<tool>")
    rendered = render_messages(tokenizer, messages)
    asked = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    assert rendered.input_ids == asked and asked.count(tokenizer.convert_tokens_to_ids("<tool>")) == 2
    assert rendered.controls == 0


def record(number: int, question: str, answer: str) -> dict:
    return make_record(make_messages(question, "", answer), "s", "f.jsonl", number, "t", None, None)


def test_tokens_that_no_row_has_are_found_and_labels_with_them_are_answers(tmp_path):
    tokenizer, ids = with_own(tmp_path)
    records = [record(1, "In?", "<|code|> x = 1"), record(2, "er?", "Paris")]
    rows = render_records(tokenizer, records, WHOLE).rows
    assert find_unused_tokens(tokenizer, ids, rows) == ["<|sql|>"]
    assert find_unused_tokens(tokenizer, ids, rows[1:]) == OWN
    assert find_unused_tokens(tokenizer, [], rows) == []
    assert find_mislabelled(tokenizer, records, rows, WHOLE) == []


def test_control_strings_in_answers_are_said(capsys):
    tokenizer = make_small_tokenizer("GPT-2")
    records = [record(1, "In?", "</s> x </s>"), record(2, "</s>?", "Paris"), record(3, "er?", "</s> <s>")]
    print_plain_controls(tokenizer, "train", render_records(tokenizer, records, WHOLE).rows)
    assert "learnt as plain text: </s> (2 rows), <s> (1 rows);" in capsys.readouterr().err
    print_plain_controls(tokenizer, "train", render_records(tokenizer, records[1:2], WHOLE).rows)
    assert not capsys.readouterr().err
