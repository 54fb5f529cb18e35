"""The loss of ours is the loss of the textbook and of TRL, gradients included."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from tunelock.model.losses import CHUNK, compute_logits_loss, compute_response_loss, find_head_weight
from tunelock.model.modeling import load_model
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import ResponseTrainer


def example(dtype: torch.dtype, tokens: int = CHUNK + 40):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, tokens, 32, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(101, 32, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(0, 101, (2, tokens), generator=generator)
    labels[:, ::3] = IGNORE
    return hidden, weight, labels


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_loss_and_gradients_agree_with_a_naive_float32_reference(dtype, tolerance):
    hidden, weight, labels = example(dtype)
    total, tokens = compute_response_loss(hidden, weight, labels)
    total.backward()
    reference = [tensor.detach().float().requires_grad_() for tensor in (hidden, weight)]
    logits = (reference[0] @ reference[1].t())[:, :-1]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"
    )
    expected.backward()
    assert tokens == int((labels[:, 1:] != IGNORE).sum())
    for found, wanted in [(total, expected), (hidden.grad, reference[0].grad), (weight.grad, reference[1].grad)]:
        assert (found.float() - wanted).norm() / wanted.norm() < tolerance


def weighted_reference(hidden, weight, labels, scales) -> list[torch.Tensor]:
    """The weighted loss in float32 without chunks, and its gradients by hidden states and head."""
    hidden, weight = (tensor.detach().float().requires_grad_() for tensor in (hidden, weight))
    losses = torch.nn.functional.cross_entropy(
        (hidden @ weight.t())[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="none"
    )
    total = (losses * scales[:, 1:].flatten().float()).sum()
    return [total, *torch.autograd.grad(total, (hidden, weight))]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("head_is_trained", [True, False])
def test_each_label_counts_as_much_as_its_scale(head_is_trained, dtype, tolerance):
    hidden, weight, labels = example(dtype)
    weight.requires_grad_(head_is_trained)
    scales = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) * 3
    scales[1, 50:] = 0.0  # counts for nothing, and is a label all the same
    total, tokens = compute_response_loss(hidden, weight, labels, scales)
    total.backward()
    expected, by_hidden, by_head = weighted_reference(hidden, weight, labels, scales)
    assert tokens == int((labels[:, 1:] != IGNORE).sum())
    assert total.item() == pytest.approx(expected.item(), rel=tolerance)
    assert (hidden.grad.float() - by_hidden).norm() / by_hidden.norm() < tolerance
    assert not hidden.grad[1, 50:].any() and hidden.grad[1, 48].any()
    if head_is_trained:
        assert (weight.grad.float() - by_head).norm() / by_head.norm() < tolerance
    else:
        assert weight.grad is None


def test_a_scale_of_one_is_no_scale_and_a_common_one_scales_the_loss():
    hidden, weight, labels = example(torch.float32)
    plain, _ = compute_response_loss(hidden, weight, labels)
    ones, _ = compute_response_loss(hidden, weight, labels, torch.ones(labels.shape))
    thrice, _ = compute_response_loss(hidden, weight, labels, torch.full(labels.shape, 3.0))
    assert ones == plain and thrice.item() == pytest.approx(3 * plain.item(), rel=1e-6)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_loss_from_logits_is_the_loss_from_hidden_states(scaled):
    hidden, weight, labels = example(torch.float32)
    scales = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) if scaled else None
    results = []
    for total, tokens in (
        compute_response_loss(hidden, weight, labels, scales), compute_logits_loss(hidden @ weight.t(), labels, scales)
    ):  # fmt: skip
        results.append([total.detach(), *torch.autograd.grad(total, (hidden, weight)), torch.tensor(tokens)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaled", [False, True])
def test_rows_without_a_label_have_no_loss_and_no_gradient(scaled):
    hidden, weight, _ = example(torch.float32)
    labels = torch.full(hidden.shape[:2], IGNORE)
    labels[:, 0] = 5  # nothing comes before the first token
    total, tokens = compute_response_loss(hidden, weight, labels, torch.ones(labels.shape) if scaled else None)
    total.backward()
    assert total == 0 and tokens == 0 and not hidden.grad.any() and not weight.grad.any()


def test_scoring_without_gradients_gives_the_same_loss():
    hidden, weight, labels = example(torch.float32)
    with torch.no_grad():
        quiet = compute_response_loss(hidden, weight, labels)[0]
    assert quiet == compute_response_loss(hidden, weight, labels)[0]


def test_trainer_computes_the_loss_of_plain_sfttrainer(tiny_model, tokenizer, records, tmp_path):
    rows = render_records(tokenizer, records, Rendering(256)).rows
    model = load_model(tiny_model, "float32")
    config = build_sft_config(tmp_path, "float32", 4, max_length=256, gradient_checkpointing=False)
    trainer = ResponseTrainer(model, tokenizer, config, None, rows, [])
    inputs = next(iter(trainer.get_train_dataloader()))
    assert find_head_weight(model) is not None
    ours = trainer.compute_loss(model, dict(inputs))
    theirs = super(ResponseTrainer, trainer).compute_loss(model, dict(inputs))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip


def capped(vocabulary: int) -> Gemma2ForCausalLM:
    """A random Gemma 2 whose logits are far into the bend of their cap."""
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(vocab_size=vocabulary, final_logit_softcapping=2.0, pad_token_id=0, **SHAPE))
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=1.0)
    return model


def biased(vocabulary: int) -> LlamaForCausalLM:
    """A random Llama whose head has a bias."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SHAPE))
    model.lm_head = torch.nn.Linear(32, vocabulary)
    torch.nn.init.normal_(model.lm_head.bias)
    return model


@pytest.mark.parametrize("make", [capped, biased])
@pytest.mark.parametrize("rows_of", [1, 4])
def test_a_head_that_is_more_than_a_matrix_has_its_own_loss(rows_of, make, tokenizer, records, tmp_path):
    rows = render_records(tokenizer, records, Rendering(256)).rows
    config = build_sft_config(tmp_path, "float32", rows_of, max_length=256, gradient_checkpointing=False)
    trainer = ResponseTrainer(make(len(tokenizer)), tokenizer, config, None, rows, rows)
    model = trainer.model
    assert find_head_weight(model) is None
    batch = next(iter(trainer.get_train_dataloader()))
    sees = {"input_ids": batch["input_ids"], "labels": batch["labels"]}
    found, wanted = trainer.compute_loss(model, dict(batch)), model(**sees).loss
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    parameters = list(model.parameters())
    for ours, theirs in zip(*(torch.autograd.grad(loss, parameters) for loss in (found, wanted)), strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()
    # What a loss that took the head for a matrix would give is something else.
    hidden = model.get_decoder()(batch["input_ids"]).last_hidden_state
    total, tokens = compute_response_loss(hidden, model.get_output_embeddings().weight, batch["labels"])
    assert abs((total / tokens).item() - wanted.item()) > 0.01


def test_a_task_weight_scales_the_loss_of_its_rows(tiny_model, tokenizer, records, tmp_path):
    rows = render_records(tokenizer, records, Rendering(256)).rows
    weights = [0.25 + number % 4 for number in range(len(rows))]
    weighed = [row | {"weight": weight} for row, weight in zip(rows, weights)]
    config = build_sft_config(tmp_path, "float32", len(rows), max_length=256, gradient_checkpointing=False)
    trainer = ResponseTrainer(load_model(tiny_model, "float32"), tokenizer, config, None, weighed, rows)
    (batch,) = trainer.get_train_dataloader()
    found = trainer.compute_loss(trainer.model, batch).item()
    alone = {}
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            alone[row["id"]] = trainer.model(input_ids=ids, labels=labels).loss.item(), int((labels != IGNORE).sum())
    total = sum(weight * loss * count for weight, (loss, count) in zip(weights, alone.values()))
    assert found == pytest.approx(total / sum(count for _, count in alone.values()), rel=1e-5)
    plain = sum(loss * count for loss, count in alone.values()) / sum(count for _, count in alone.values())
    assert found != pytest.approx(plain, rel=1e-3)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain, rel=1e-5)  # validation counts all tokens alike


def test_a_head_with_scaled_logits_is_no_plain_matrix(tiny_model):
    model = load_model(tiny_model, "float32")
    model.config.final_logit_softcapping = 30.0
    assert find_head_weight(model) is None
