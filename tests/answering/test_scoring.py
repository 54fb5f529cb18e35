"""Scores are those of a plain float32 loop over single rows, whatever the batch and the head."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.answering.test_generation import SMALL, talkative
from tunelock.answering import scoring
from tunelock.answering.choices import render_option, replace_answer
from tunelock.answering.grouping import group_similar, iterate_batches
from tunelock.answering.joint_rows import join_rows
from tunelock.answering.scoring import score_families, score_rows
from tunelock.model.modeling import load_model
from tunelock.model.sharing import can_share, keeps_rows_apart
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import Rendering, render_records


@pytest.fixture(scope="module")
def model(tiny_model):
    return talkative(load_model(tiny_model, "float32"))


@pytest.fixture(scope="module")
def rows(tokenizer, records):
    return render_records(tokenizer, records, Rendering(256)).rows


def alone(model, row) -> tuple[float, int, list[list[float]]]:
    """Loss, tokens and confidence of one row by softmax over the whole vocabulary, token by token."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].double()
    loss, tokens, table = 0.0, 0, [[0, 0, 0.0] for _ in range(10)]
    for place, label in enumerate(row["labels"][1:]):
        if label == IGNORE:
            continue
        shares = logits[place].softmax(-1)
        loss, tokens = loss - shares[label].log().item(), tokens + 1
        likeliest = int(shares.argmax())
        cell = table[min(int(shares[likeliest] * 10), 9)]
        cell[0], cell[1], cell[2] = cell[0] + 1, cell[1] + (likeliest == label), cell[2] + shares[likeliest].item()
    return loss, tokens, table


def agree(model, rows, found) -> None:
    for row, one in zip(rows, found, strict=True):
        loss, tokens, table = alone(model, row)
        assert (one.tokens, [cell[:2] for cell in one.confidence]) == (tokens, [cell[:2] for cell in table])
        assert one.loss == pytest.approx(loss, rel=1e-5)
        assert [cell[2] for cell in one.confidence] == pytest.approx([cell[2] for cell in table], rel=1e-4)


def test_scores_agree_with_a_naive_loop(model, rows):
    agree(model, rows, score_rows(model, rows, 5))


def test_confidence_fills_the_upper_bins_and_counts_hits(model, rows):
    said = rows[0] | {"labels": list(rows[0]["labels"])}
    with torch.no_grad():
        likeliest = model(input_ids=torch.tensor([said["input_ids"]])).logits[0].argmax(-1).tolist()
    for place in range(1, len(said["labels"]), 2):  # every other label is what the model expects
        said["labels"][place] = likeliest[place - 1]
    found = score_rows(model, [said, *rows[1:]], 4)
    agree(model, [said, *rows[1:]], found)
    assert sum(cell[0] for cell in found[0].confidence[5:]) > 0 < sum(cell[1] for cell in found[0].confidence)


def test_batch_and_padding_change_nothing_but_last_digits(model, rows):
    single, together = score_rows(model, rows, 1), score_rows(model, rows, 12)
    assert [one.tokens for one in single] == [one.tokens for one in together]
    assert [one.loss for one in single] == pytest.approx([one.loss for one in together], rel=1e-5)


def test_chunks_of_logits_add_up(model, rows, monkeypatch):
    whole = score_rows(model, rows, 12)
    monkeypatch.setattr(scoring, "CHUNK", 3)
    for one, other in zip(whole, score_rows(model, rows, 12), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)


def test_heads_that_are_more_than_a_matrix(tiny_model, rows):
    model = load_model(tiny_model, "float32")
    before = score_rows(model, rows, 5)
    head = model.lm_head
    bias = torch.nn.Parameter(torch.zeros(head.out_features))
    model.lm_head = torch.nn.Linear(head.in_features, head.out_features, bias=True)
    model.lm_head.weight, model.lm_head.bias = head.weight, bias
    assert scoring.find_head_weight(model) is None
    assert [one.loss for one in score_rows(model, rows, 5)] == pytest.approx([one.loss for one in before], rel=1e-5)
    with torch.no_grad():
        bias[7] = 3.0
    agree(model, rows, score_rows(model, rows, 5))


@pytest.fixture(scope="module")
def families(tokenizer, records):
    """Questions with one, two and four answers; one of the latter is the beginning of another."""
    found = []
    for number, record in enumerate(records[:6]):
        said = [record["messages"][-1]["content"], "Something else.", "Something else. And more.", "No."]
        wanted = said[: (1, 2, 4)[number % 3]]
        answered = [{**record, "messages": replace_answer(record["messages"], text)} for text in wanted]
        rows = render_records(tokenizer, answered, Rendering(256))
        found.append(rows[0])
    found[2].append(render_option(tokenizer, records[2]["messages"], "Something else.", "none"))
    return found


def test_answers_to_one_question_score_as_they_do_alone(model, families):
    assert can_share(model)
    lengths = [len(join_rows(family).input_ids) for family in families]
    assert sum(lengths) < 0.7 * sum(len(row["input_ids"]) for family in families for row in family)
    for batch_size in (1, 4):
        for family, found in zip(families, score_families(model, families, batch_size), strict=True):
            agree(model, family, found)


def test_other_attention_scores_each_answer_alone(tiny_model, model, families):
    other = talkative(load_model(tiny_model, "float32"))
    other.set_attn_implementation("eager")
    assert not can_share(other)
    for one, two in zip(score_families(model, families, 4), score_families(other, families, 4), strict=True):
        assert [row.loss for row in one] == pytest.approx([row.loss for row in two], rel=1e-5)


@pytest.mark.parametrize("kind, apart", [("llama", True), ("lfm2", False), ("gpt2", True), ("bloom", False)])
def test_models_that_carry_something_from_answer_to_answer_are_found_out(kind, apart):
    options = {
        "llama": SMALL,
        "lfm2": {"layer_types": ["conv", "full_attention"], **SMALL},
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=99, **options[kind])).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(12)
    assert keeps_rows_apart(model) == can_share(model) == apart


def test_no_families_are_no_scores(model):
    assert score_families(model, [], 4) == []


def test_soft_prompts_stand_before_the_tokens(tiny_model, rows):
    from peft import PromptTuningConfig, get_peft_model

    torch.manual_seed(1)
    bare = load_model(tiny_model, "float32")
    model = get_peft_model(bare, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)).eval()
    soft = model.get_prompt(batch_size=1)
    for row, found in zip(rows[:3], score_rows(model, rows[:3], 3)):
        embeds = torch.cat([soft, bare.get_input_embeddings()(torch.tensor([row["input_ids"]]))], 1)
        with torch.no_grad():
            shares = bare(inputs_embeds=embeds).logits[0, 4:-1].double().log_softmax(-1)
        wanted = [-shares[place, label].item() for place, label in enumerate(row["labels"][1:]) if label != IGNORE]
        assert (found.loss, found.tokens) == (pytest.approx(sum(wanted), rel=1e-5), len(wanted))


def test_bfloat16_is_near_float32(tiny_model, rows):
    exact, coarse = (score_rows(load_model(tiny_model, dtype), rows, 5) for dtype in ("float32", "bfloat16"))
    assert [one.loss for one in coarse] == pytest.approx([one.loss for one in exact], rel=5e-3)


def test_batches_cover_every_row_once_longest_first():
    assert list(iterate_batches([3, 9, 5, 5, 1], 2, "x")) == [[1], [2, 3], [0], [4]]


@pytest.mark.parametrize(
    "lengths, most, groups",
    [
        ([], 4, []),
        ([5], 4, [[0]]),
        ([100, 90, 80, 79, 64, 63], 9, [[0, 1, 2], [3, 4], [5]]),
        ([80, 90, 101, 100], 9, [[0, 1], [2, 3]]),  # in any order
        ([7] * 5, 2, [[0, 1], [2, 3], [4]]),
    ],
)
def test_rows_of_similar_length_go_together(lengths, most, groups):
    assert [list(group) for group in group_similar(lengths, most)] == groups
