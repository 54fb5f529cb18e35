"""Perplexity and greedy answers are those of a few lines of plain transformers that share no code with ours."""

import pytest

from benchmarks.agreement import ours, plain
from tests.answering.test_generation import talkative
from tunelock.model.modeling import load_model


def test_perplexity_and_answers_agree_with_plain_transformers(tiny_model, tokenizer, records, tmp_path):
    model = talkative(load_model(tiny_model, "float32"))
    model.config.tie_word_embeddings = False
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    wanted, answers = plain(tmp_path, [record["messages"] for record in records], 5, 7)
    found, said = ours(tmp_path, tokenizer, records, "float32", 5, 7, 4)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert said == answers and len({tuple(answer) for answer in answers}) > 3
