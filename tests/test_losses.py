"""The loss of ours is the loss of the textbook and of TRL, gradients included."""

import pytest
import torch

from stages.lib.losses import CHUNK, head_weight, response_loss
from stages.lib.modeling import load_model
from stages.lib.rendering import IGNORE, fit
from stages.lib.trainer import ResponseTrainer, sft_config


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
    total, tokens = response_loss(hidden, weight, labels)
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


def test_scoring_without_gradients_gives_the_same_loss():
    hidden, weight, labels = example(torch.float32)
    with torch.no_grad():
        quiet = response_loss(hidden, weight, labels)[0]
    assert quiet == response_loss(hidden, weight, labels)[0]


def test_trainer_computes_the_loss_of_plain_sfttrainer(tiny_model, tokenizer, records, tmp_path):
    rows, _ = fit(tokenizer, records, None, 256)
    model = load_model(tiny_model, "float32")
    config = sft_config(tmp_path, "float32", 0.0, 4, max_length=256, gradient_checkpointing=False)
    trainer = ResponseTrainer(model, tokenizer, config, None, rows, [])
    inputs = next(iter(trainer.get_train_dataloader()))
    assert head_weight(model) is not None
    ours = trainer.compute_loss(model, dict(inputs))
    theirs = super(ResponseTrainer, trainer).compute_loss(model, dict(inputs))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_head_with_scaled_logits_is_left_to_trl(tiny_model):
    model = load_model(tiny_model, "float32")
    model.config.final_logit_softcapping = 30.0
    assert head_weight(model) is None
