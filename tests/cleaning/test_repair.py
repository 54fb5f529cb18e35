"""Mending text: what came through the wrong encoding is restored, and what a person may have meant stays."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelock.cleaning.repair import has_lost_characters, repair_text

BROKEN_PIECES = [
    "Ã",
    "©",
    "Â",
    "â€",
    "™",
    "œ",
    "\x9d",
    "\x00",
    "\ufeff",
    "\r",
    "\n",
    "e",
    "A",
    "\u0301",
    "\u0303",
    "ï»¿",
]


@pytest.mark.parametrize(
    ("text", "mended", "names"),
    [
        ("cafÃ©", "café", ("mojibake",)),
        ("cafÃƒÂ©", "café", ("mojibake",)),
        ("donâ€™t", "don’t", ("mojibake",)),
        ("wait\x85", "wait…", ("mojibake",)),
        ("\ufeffText", "Text", ("control_characters",)),
        ("ï»¿Text", "Text", ("mojibake", "control_characters")),
        ("two\ufeffparts", "twoparts", ("control_characters",)),
        ("nul\x00 bell\x07 del\x7f", "nul bell del", ("control_characters",)),
        ("inter\ufff9linear", "interlinear", ("control_characters",)),
        ("one\r\ntwo\rthree\n", "one\ntwo\nthree\n", ("line_ends",)),
        ("cafe\u0301", "café", ("unicode_form",)),
        ("e\x00\u0301", "é", ("control_characters", "unicode_form")),
        ("cafÃ\x00©", "café", ("control_characters", "mojibake")),
        ("A\u0303©", "é", ("unicode_form", "mojibake")),
        ("one\r\x00\ntwo", "one\ntwo", ("control_characters", "line_ends")),
    ],
)
def test_damage_is_mended_and_named(text, mended, names):
    assert repair_text(text) == (mended, names)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "“Curly” ‘quotes’, an em dash — and an ellipsis…",
        "👩‍👩‍👧 family, 🏳️‍🌈 flag, 😀",
        "line\u2028separator and paragraph\u2029separator",
        "def f(x):\n\tif x < 1 && y > 2:\n\t\treturn '&amp; \\u00e9 \\r\\n'\n",
        "ﬁne ligature, ｆｕｌｌｗｉｄｔｈ, x² and ½",
        "naïve café, Straße, São Paulo, Ångström",
        "日本語、한국어, हिन्दी, العربية",
        "no\u00a0break, zero\u200bwidth, می\u200cخواهم",
    ],
)
def test_what_a_person_may_have_meant_is_not_touched(text):
    assert repair_text(text) == (text, ())


@pytest.mark.parametrize("text", ["half \ud83d", "\udc80", "lost \ufffd letter"])
def test_what_was_lost_cannot_be_mended_and_is_recognised(text):
    assert has_lost_characters(repair_text(text)[0])


@pytest.mark.parametrize("text", ["", "plain", "café 😀 \u2028"])
def test_whole_text_is_not_taken_for_broken(text):
    assert not has_lost_characters(text)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(BROKEN_PIECES), max_size=8).map("".join)))
def test_mended_text_needs_no_other_repair(text):
    mended, names = repair_text(text)
    assert repair_text(mended) == (mended, ())
    assert bool(names) == (mended != text)
    assert unicodedata.is_normalized("NFC", mended)
    assert "\r" not in mended
