"""Scores and answers are those of a plain transformers loop."""

import pytest
import torch

from stages.evaluate import evaluate
from stages.lib.errors import Stop
from stages.lib.judging.generation import batches, generate, score
from stages.lib.tokens.rendering import end_token_id, fit
from stages.lib.training.modeling import load_model


def test_losses_agree_with_a_plain_loop_over_single_rows(tiny_model, tokenizer, records):
    model = load_model(tiny_model, "float32")
    rows, _ = fit(tokenizer, records, None, 256)
    for row, (loss, tokens) in zip(rows, score(model, rows, 5)):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            mean = model(input_ids=ids, labels=labels).loss.item()
        assert loss / tokens == pytest.approx(mean, rel=1e-4)


def test_greedy_answers_are_those_of_one_by_one_generation(tiny_model, tokenizer, records):
    model, end = load_model(tiny_model, "float32"), end_token_id(tokenizer)
    prompts = [row["input_ids"][: row["prompt_length"]] for row in fit(tokenizer, records, None, 256)[0]]
    for prompt, found in zip(prompts, generate(model, prompts, 6, 5, end)):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            for _ in range(6):
                token = model(input_ids=ids).logits[0, -1].argmax()
                ids = torch.cat([ids, token.view(1, 1)], dim=1)
                if token == end:
                    break
        assert found == ids[0, len(prompt) :].tolist()


def test_batches_cover_every_row_once_longest_first():
    assert list(batches([3, 9, 5, 5, 1], 2, "x")) == [[1, 2], [3, 0], [4]]


def test_rows_keep_their_order_and_only_the_first_are_answered(tiny_model, tokenizer, records):
    rows = evaluate(load_model(tiny_model, "float32"), tokenizer, records, None, 256, None, 3, 4, 5)
    assert [row["id"] for row in rows] == [record["id"] for record in records]
    assert ["answer" in row for row in rows] == [True] * 3 + [False] * 9
    assert all(row["new_tokens"] <= 4 for row in rows[:3])


def test_rows_that_do_not_fit_or_no_rows_stop(tiny_model, tokenizer, records):
    model = load_model(tiny_model, "float32")
    with pytest.raises(Stop, match="12 of 12 rows exceed max_length 8"):
        evaluate(model, tokenizer, records, None, 8, None, 3, 4, 5)
    with pytest.raises(Stop, match="0 of 0"):
        evaluate(model, tokenizer, [], None, 256, None, 3, 4, 5)
