"""Words and n-grams: the same for every spelling, stable from process to process, of every script."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelock.records.ngrams import (
    has_words,
    hash_ngrams,
    hash_runs,
    list_ngrams,
    measure_similarity,
    split_tokens,
    split_words,
)

ROOT = Path(__file__).parents[2]
TWENTY = " ".join(f"w{i}" for i in range(20))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don't PANIC, e.g. x_y!", ["don", "t", "panic", "e", "g", "x", "y"]),
        ("Straße ﬁne Ａｂ ２", ["strasse", "fine", "ab", "2"]),
        ("e\u0301t\u00e9", ["été"]),
        ("中文です。", ["中", "文", "で", "す"]),
        ("GPU用です", ["gpu", "用", "で", "す"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("Привет, мир", ["привет", "мир"]),
        ("مَرْحَبًا", ["مَرْحَبًا"]),
        ("half \ud83d 😀 !?", ["half"]),
        ("", []),
    ],
)
def test_words(text, found):
    assert split_words(text) == found


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("What is C?", "What is C++?"),
        ("C#", "C"),
        ("6 / 2", "6 * 2"),
        ("3*4", "3+4"),
        ("of -5", "of 5"),
        ("a<b", "a>b"),
    ],
)
def test_symbols_that_carry_meaning_are_tokens(left, right):
    assert split_tokens(left) != split_tokens(right)
    assert measure_similarity(left, right) < 0.7


@pytest.mark.parametrize(
    "text", ["* a bold word", "- a bold word", "a **bold** word", "# A *bold* word!", "a bold-word"]
)
def test_markdown_and_hyphens_are_not(text):
    assert split_tokens(text) == ["a", "bold", "word"]


def test_shingles_are_the_runs_of_words():
    assert list_ngrams("A b, c", 2) == [("a", "b"), ("b", "c")]
    assert list_ngrams("a", 2) == []


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 15))
def test_equal_ngrams_have_equal_hashes_and_others_do_not(letters, size):
    text = " ".join(letters)
    found = hash_ngrams(text, size)
    assert found.dtype == np.uint64
    assert len(found) == len(set(list_ngrams(text, size)))
    assert (np.diff(found.astype(object)) > 0).all()


def test_the_hash_of_an_ngram_does_not_depend_on_where_it_stands():
    values = np.arange(1, 40, dtype=np.uint64) ** 3
    assert (hash_runs(values, 13)[5:] == hash_runs(values[5:], 13)).all()


def test_a_common_run_of_13_words_is_found_and_one_of_12_is_not():
    other = "before it " + " ".join(f"W{i}," for i in range(3, 16)) + " behind it"
    assert len(np.intersect1d(hash_ngrams(TWENTY), hash_ngrams(other))) == 1
    assert len(np.intersect1d(hash_ngrams(TWENTY), hash_ngrams(other.replace("W15", "else")))) == 0
    assert len(hash_ngrams(" ".join(f"w{i}" for i in range(12)))) == 0


def test_hashes_are_the_same_in_every_process_and_release():
    code = "from tunelock.records.ngrams import hash_ngrams as n; print(n('The quick, brown fox jümps', 2).tolist())"
    outs = set()
    for seed in "1", "2":
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        outs.add(
            subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        )
    assert outs == {f"{hash_ngrams('the quick brown fox jümps', 2).tolist()}\n"}
    assert hash_ngrams("a b", 2).tolist() == [1061002681806074489]


@pytest.mark.parametrize("text", ["", "one", "Two, words!", "three 日本", "a-b c*d"])
def test_whether_a_text_has_so_many_words_is_known_without_reading_it_all(text):
    count = len(split_words(text))
    assert [has_words(text, least) for least in range(count + 3)] == [True] * (count + 1) + [False] * 2
