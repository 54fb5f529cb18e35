"""A GGUF file's text is split as `tokenizer.ggml.pre` says, or `base` says that it may not be."""

import re

import pytest

from tests.gguf_files import TEXT, make_vocabulary, remove_merges, write_gguf
from tunelock.rendering.gguf_tokenizer import doubt_split, load_source_tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?[^\s\w]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\w]?[^\W\d_]+|\d| ?[^\s\w]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split_by(pattern: str, text: str) -> list[str]:
    return re.findall(pattern, text)


def split_digits_first(text: str) -> list[str]:
    return [piece for part in re.split(r"(\d)", text) for piece in split_by(GPT2, part)]


@pytest.fixture(scope="module")
def vocabulary():
    return make_vocabulary()


@pytest.mark.parametrize(
    ("pre", "expected"),
    [
        ("gpt-2", split_by(GPT2, TEXT)),
        ("smollm", split_digits_first(TEXT)),
        ("starcoder", split_digits_first(TEXT)),
        ("command-r", split_digits_first(TEXT)),
        ("qwen2", split_by(QWEN2, TEXT)),
        ("stablelm2", split_by(QWEN2, TEXT)),
        ("llama-bpe", split_by(QWEN2.replace(r"\d|", r"\d{1,3}|"), TEXT)),
        ("glm4", split_by(QWEN2.replace(r"\d|", r"\d{1,3}|"), TEXT)),
    ],
)
def test_text_is_cut_before_it_is_merged_as_the_file_says(pre, expected, vocabulary, tmp_path):
    file = write_gguf(tmp_path / "a.gguf", pre, vocabulary)
    found = load_source_tokenizer(file).backend_tokenizer.pre_tokenizer.pre_tokenize_str(TEXT)
    assert [TEXT[start:end] for _, (start, end) in found] == expected
    assert doubt_split(file) == ""


@pytest.mark.parametrize(
    ("pre", "words"), [("from-next-year", "names the split 'from-next-year'"), (None, "does not say how")]
)
def test_a_split_that_is_not_known_is_said(pre, words, vocabulary, tmp_path):
    assert words in doubt_split(write_gguf(tmp_path / "a.gguf", pre, vocabulary))


@pytest.mark.parametrize(("pre", "whole"), [("llama-bpe", True), ("tekken", True), ("qwen2", False)])
def test_a_piece_that_is_a_token_stays_whole_where_the_family_says_so(pre, whole, tmp_path):
    """No merge makes ` Fr` here, as none makes some of Llama 3's own tokens."""
    tokenizer = load_source_tokenizer(write_gguf(tmp_path / "a.gguf", pre, remove_merges(make_vocabulary(), "ĠFr")))
    ids = tokenizer.encode(" Fr", add_special_tokens=False)
    assert (tokenizer.convert_ids_to_tokens(ids) == ["ĠFr"]) == whole
    assert (tokenizer.encode(" Fr")[0] == tokenizer.bos_token_id) == whole
