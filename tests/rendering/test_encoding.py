"""Tokens of training and of inference are the same at the beginning of an answer, and control strings move none."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rendering.small_tokenizers import KINDS, TEMPLATES, make_small_tokenizer
from tunelock.records.record import Message
from tunelock.rendering.conversation import IGNORE, render_messages, render_prompt
from tunelock.rendering.template import TemplateRefusal, apply_template

PARTS = ("In", " ", "  ", "\n", "\n\n", "Paris", ", ", "x = 1", "er", "?", "'s", "    ", "1", "é")
CONTROL_STRINGS = ("<|end|>", "<|start|>", "<s>", "</s>")
TEXTS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join).filter(str.strip)
NAMES = st.sampled_from(list(KINDS)), st.sampled_from([name for name in TEMPLATES if name != "leads with a blank"])


def ask_and_answer(*texts: str) -> list[Message]:
    return [Message(role="assistant" if number % 2 else "user", content=text) for number, text in enumerate(texts)]


def encode_whole(tokenizer, messages: list[Message], generation: bool = False) -> list[int]:
    """What the tokenizer makes of the template's text, as a server does before it asks a model."""
    text = apply_template(tokenizer, messages, generation=generation)
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def learnt_text(tokenizer, rendered) -> str:
    return tokenizer.decode([label for label in rendered.labels if label != IGNORE])


@pytest.mark.parametrize("trims", ["GPT-2", "trims offsets"])
@pytest.mark.parametrize("answer", ["Paris", " Paris", "\n\nIn Paris", "    x = 1", "\n er"])
def test_an_answer_is_learnt_from_its_first_blank_on(trims, answer):
    for template in ("chatml", "ends with a blank", "ends with two line ends"):
        tokenizer = make_small_tokenizer(trims, template)
        rendered = render_messages(tokenizer, ask_and_answer("In?", answer))
        assert learnt_text(tokenizer, rendered) == answer + "<|end|>"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(*NAMES, TEXTS, TEXTS)
def test_a_row_is_the_prompt_that_a_server_makes_and_what_is_written_behind_it(kind, template, question, answer):
    tokenizer, messages = make_small_tokenizer(kind, template), ask_and_answer(question, answer)
    rendered, whole = render_messages(tokenizer, messages), encode_whole(tokenizer, messages)
    prompt = encode_whole(tokenizer, messages[:1], generation=True)
    assert rendered.input_ids[: rendered.prompt_length] == prompt == render_prompt(tokenizer, messages[:1])
    takes_blanks = kind == "Phi-3" and answer[0].isspace()  # its control token takes those of the answer as well
    assert takes_blanks or tokenizer.decode(rendered.input_ids) == tokenizer.decode(whole)
    looks_back = answer.startswith("'")  # a blank before it makes it another word
    assert takes_blanks or looks_back or whole[: len(prompt)] != prompt or rendered.input_ids == whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_that_leads_with_a_blank_is_learnt_with_one_blank(kind):
    tokenizer, messages = make_small_tokenizer(kind, "leads with a blank"), ask_and_answer("In?", "Paris, x = 1.")
    assert render_messages(tokenizer, messages).input_ids == encode_whole(tokenizer, messages)


def split_at_controls(tokenizer, ids: list[int]) -> list[list[int]]:
    """The tokens between control tokens."""
    controls, parts = {tokenizer.convert_tokens_to_ids(name) for name in CONTROL_STRINGS}, [[]]
    for token in ids:
        if token in controls:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


HOSTILE = st.tuples(st.text(" In\n", max_size=2), st.sampled_from(CONTROL_STRINGS), TEXTS).map("".join)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(*NAMES, st.lists(TEXTS, min_size=4, max_size=4), st.integers(0, 3), HOSTILE)
def test_control_strings_move_no_token_outside_their_message(kind, template, texts, place, hostile):
    tokenizer, messages = make_small_tokenizer(kind, template), ask_and_answer(*texts)
    harmless = render_messages(tokenizer, messages)
    assert harmless.input_ids[: harmless.prompt_length] == render_prompt(tokenizer, messages[:-1])
    messages[place] = {**messages[place], "content": hostile}
    rendered = render_messages(tokenizer, messages)
    assert rendered.input_ids[: rendered.prompt_length] == render_prompt(tokenizer, messages[:-1])
    pairs = zip(
        split_at_controls(tokenizer, rendered.input_ids),
        split_at_controls(tokenizer, harmless.input_ids),
        strict=True,  # as many control tokens as without the string
    )
    assert sum(found != wanted for found, wanted in pairs) <= 1


def test_a_row_whose_control_string_would_rule_the_template_is_refused():
    tokenizer = copy.deepcopy(make_small_tokenizer("GPT-2"))
    tokenizer.chat_template = TEMPLATES["chatml"].replace("{{ m.content }}", "{{ m.content.split('</s>')[-1] }}")
    rules = ask_and_answer("In?</s>Paris", "Paris")
    with pytest.raises(TemplateRefusal, match="goes by a control string") as refusal:
        render_prompt(tokenizer, rules[:1])
    assert refusal.value.reason == "control_string_rules_template"
    assert learnt_text(tokenizer, render_messages(tokenizer, ask_and_answer("In?", "Paris"))) == "Paris<|end|>"
