"""Alignment: each rule with the smallest answer that breaks it, and the near miss that does not."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelock.cleaning.alignment import ANSWER_RULES, LONG_QUESTION, detect_language, find_broken_answer_rule

PASSAGE = "word " * LONG_QUESTION
RUSSIAN = "Столица Франции — Париж, красивый город."
CHINESE = "法国的首都是巴黎，这是一座非常美丽的城市，每年有很多游客。"
ENGLISH = "The capital of France is Paris, a beautiful city."


@pytest.mark.parametrize(
    ("question", "answer", "rule"),
    [
        ("What is the capital?", "what is the capital", "echo"),
        ("What is the capital?", "Question: What is the capital?\nAnswer:", "echo"),
        ("Q?", "I'm sorry, but I can't.", "refusal"),
        ("Q?", "I’m sorry, but I can’t assist with that request.", "refusal"),
        ("Q?", "I cannot assist with that.", "refusal"),
        ("Q?", "I'm unable to help with this.", "refusal"),
        ("Q?", "As an AI language model, I do not have opinions.", "refusal"),
        ("Q?", "Sorry, as an AI I have none.", "refusal"),
        ("Q?", "Unfortunately, I am not able to provide that information.", "refusal"),
        ("Q?", "I apologise, but I cannot fulfil it.", "refusal"),
        (f"Explain this: {PASSAGE}", "B", "too_short_for_question"),
        (f"{PASSAGE}\nWhy is that so?", "..", "too_short_for_question"),
        (ENGLISH, RUSSIAN, "wrong_script"),
        (CHINESE, ENGLISH, "wrong_script"),
    ],
)
def test_an_answer_that_breaks_a_rule(question, answer, rule):
    assert find_broken_answer_rule(question, answer, ANSWER_RULES) == rule
    assert find_broken_answer_rule(question, answer, set(ANSWER_RULES) - {rule}) is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital?", "What is the capital? Paris."),
        ("Good morning", "Good morning!"),
        ("Correct the text: He go to school every day.", "He goes to school every day."),
        (f"Fix the typos: {PASSAGE}", PASSAGE),
        (f"{PASSAGE} Fix the typos.", PASSAGE),
        ("Is it positive or negative? I love it.", "positive"),
        ("Q?", "You cannot divide by zero."),
        ("Q?", "I'm sorry for your loss."),
        ("Q?", "I'm sorry, but I can't come on Friday."),
        ("Q?", "I can't help but smile."),
        ("Q?", "As an AI researcher, you should read more."),
        ("Q?", "As an AI language model, I can write that: Roses are red."),
        ("Q?", "The bot said: I'm sorry, but I can't."),
        ("Which tone has “I'm sorry, but I can't.”?", "“I'm sorry, but I can't.” is polite."),
        (f"Explain this: {PASSAGE}", "Yes"),
        (f"Explain this: {'word ' * (LONG_QUESTION - 3)}", "B"),
        (f"{PASSAGE}\nWhich one is it? Explain.", "B"),
        (f"Explain why:\nA) {PASSAGE}\nB) none", "B"),
        (f"{PASSAGE} to explain {PASSAGE}", "42"),
        ("Where?", "Paris"),
        ("Which weakness?", "CWE-79"),
        (f"Translate into Russian: {ENGLISH}", RUSSIAN),
        (f"用英语回答：{CHINESE}", ENGLISH),
        (ENGLISH, "Москва"),
        (f"{ENGLISH} {RUSSIAN}", RUSSIAN),
        (CHINESE, "フランスの首都はパリです。とても美しい都市です。"),
        (CHINESE, "for (int i = 0; i < count; i++) { total += values[i]; }"),
        (CHINESE, "3.14159265358979 + 2.71828182845904"),
    ],
)
def test_an_answer_that_is_near_to_breaking_a_rule(question, answer):
    assert find_broken_answer_rule(question, answer, ANSWER_RULES) is None


def test_the_first_broken_rule_in_the_order_of_rules_is_given():
    text = "I'm sorry, but I can't."
    assert find_broken_answer_rule("Say nothing but a long refusal", text, ANSWER_RULES) == "refusal"
    assert find_broken_answer_rule(text, text, ["refusal", "echo"]) == "echo"
    assert find_broken_answer_rule(text, text, []) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"),
        (RUSSIAN, "ru"),
        (CHINESE, "zh"),
        ("Die Hauptstadt von Frankreich ist Paris, eine schöne Stadt.", "de"),
        ("La capitale de la France est Paris, une belle ville.", "fr"),
        ("", None),
        ("Hello", None),
        ("CVE-2006-7079, CVE-2007-0649, CWE-79, CWE-89, CWE-1004", None),
        ("memcpy, strcpy, strncpy, sprintf, gets, malloc, free", None),
        ("CWE-351: Insufficient Type Distinction", None),
        ("for (int i = 0; i < n; i++) { sum += a[i]; } return sum;", None),
        ("3.14159 " * 20, None),
    ],
)
def test_the_language_is_told_or_left_open(text, code):
    assert detect_language(text) == code


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_is_judged(question, answer):
    assert find_broken_answer_rule(question, answer, ANSWER_RULES) in (None, *ANSWER_RULES)
    code = detect_language(answer)
    assert code is None or len(code) == 2


@pytest.mark.parametrize("text", [" ", "\n", "sorry ", "as an ai ", "- ", "я", "I can't ", "word\u2028"])
def test_a_long_hostile_text_takes_no_time(text):
    import time

    start = time.process_time()
    find_broken_answer_rule("Explain why " + text * 20_000, text * 20_000, ANSWER_RULES)
    find_broken_answer_rule("Explain why " + text * 20_000, "x", ANSWER_RULES)
    assert time.process_time() - start < 1


def test_the_import_is_cheap():
    heavy = "{'torch', 'transformers', 'datasets', 'numpy', 'py3langid'}"
    code = f"import sys, tunelock.cleaning.alignment; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
