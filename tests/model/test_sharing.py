"""Padding is not computed, what rows begin with once, and nothing comes out otherwise."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tests.training.test_fused import SHAPE
from tunelock.model.methods.all_methods import METHODS
from tunelock.model.methods.method_settings import MethodSettings
from tunelock.model.modeling import load_model
from tunelock.model.sharing import (
    JoinRows,
    SplitRows,
    build_joint_inputs,
    compute_joint_states,
    has_dropout,
    lay_out_batch,
)
from tunelock.model.tuned import compute_hidden_states, unwrap_model
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.training.kernels.cpu_attention import use_cpu_attention
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import PLAIN, Extras, ResponseTrainer


def batch(rows: int, shared: int, length: int) -> torch.Tensor:
    """Random ids (rows, length) that begin alike, and differ in the token after that."""
    ids = torch.randint(0, 101, (rows, length), generator=torch.Generator().manual_seed(0))
    ids[:, :shared] = ids[0, :shared]
    ids[:, shared : shared + 1] = torch.arange(rows)[:, None]
    return ids


def labelled(ids: torch.Tensor, ends: list[int]) -> torch.Tensor:
    """Labels of the last two tokens of each row; from its end on is padding."""
    labels = torch.full_like(ids, IGNORE)
    for row, end in enumerate(ends):
        labels[row, end - 2 : end] = ids[row, end - 2 : end]
    return labels


@pytest.mark.parametrize(
    "rows, ends, shared, kept",
    [
        ([[5, 6, 7, 8], [5, 6, 9, 8], [5, 6, 7, 8]], [4, 4, 4], 2, [[2], [2], [2]]),
        ([[5, 6, 7, 8], [6, 6, 0, 0]], [4, 2], 0, [[0, 1, 2], [0]]),
        ([[5, 6, 7], [5, 6, 7]], [3, 3], 2, [[], []]),  # the last label is predicted from what is shared
        ([[5, 6, 7, 8], [5, 6, 7, 0]], [4, 3], 2, [[2], []]),
        ([[5, 6, 7, 0]], [3], 0, [[0, 1]]),
    ],
)
def test_what_rows_begin_with_is_shared_and_what_no_label_follows_is_left_out(rows, ends, shared, kept):
    ids = torch.tensor(rows)
    where = lay_out_batch(ids, labelled(ids, ends))
    length = ids.shape[1]
    assert where.shared == shared
    assert where.rests.tolist() == [row * length + place for row, places in enumerate(kept) for place in places]


def test_a_batch_is_joined_and_taken_apart_again():
    ids = batch(3, 4, 10)
    where = lay_out_batch(ids, labelled(ids, [10, 7, 9]))
    sequence = JoinRows.apply(ids, where)
    assert sequence.shape == (4 + 5 + 2 + 4,)
    again = SplitRows.apply(sequence, where)
    for row, end in enumerate([9, 6, 8]):
        assert torch.equal(again[row, :end], ids[row, :end]) and (again[row, end:] == ids[0, 0]).all()


@pytest.mark.parametrize("shared", [0, 3])
def test_gradients_go_back_the_same_way(shared):
    ids = batch(3, shared, 8)
    where = lay_out_batch(ids, labelled(ids, [8, 5, 7]))
    tokens = shared + sum(end - 1 - shared for end in (8, 5, 7))
    sequence = torch.randn(tokens, 2, 4, dtype=torch.double, requires_grad=True)
    # What is left out is like the first token, but nothing comes back from there: nothing may look at it.
    needed = torch.tensor([[place < end - 1 for place in range(8)] for end in (8, 5, 7)]).double()[..., None, None]
    assert torch.autograd.gradcheck(lambda some: SplitRows.apply(some, where) * needed, sequence)
    rows = torch.randn(3, 8, 2, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda some: JoinRows.apply(some, where), rows)


def test_each_token_of_a_joint_sequence_sees_its_own_row():
    ids = batch(2, 2, 6)
    given = build_joint_inputs(ids, lay_out_batch(ids, labelled(ids, [5, 4])), "sdpa")
    assert given["position_ids"].tolist() == [[0, 1, 2, 3, 2]]
    assert given["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("quick, checkpointing", [(True, False), (True, True), (False, False)])
def test_states_and_gradients_are_those_of_rows_side_by_side(kind, quick, checkpointing):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE))
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.3)
    if checkpointing:
        model.gradient_checkpointing_enable()
    if quick:
        use_cpu_attention(unwrap_model(model))
    ids, ends = batch(3, 9, 80), []
    labels = labelled(ids, [80, 50, 71])
    asked = labels[:, 1:] != IGNORE
    weights = torch.randn(int(asked.sum()), 32, generator=torch.Generator().manual_seed(1))
    for joint in (False, True):
        model.zero_grad()
        found = compute_joint_states(model, ids, labels) if joint else compute_hidden_states(model, ids)
        found = found[:, :-1][asked]
        (found * weights).sum().backward()
        ends.append([found.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    assert len(ends[0]) == 1 + 2 * 14
    for wanted, found in zip(*ends, strict=True):
        assert (found - wanted).norm() < 1e-5 * wanted.norm()


def trainer(tiny_model, tokenizer, records, folder, extras=PLAIN, dropout=0.0, attention=None) -> ResponseTrainer:
    config = build_sft_config(folder, "float32", 4, max_steps=1, max_length=256, gradient_checkpointing=False, seed=0)
    settings = MethodSettings(lora_r=4, lora_alpha=8, lora_dropout=dropout, lora_target_modules="all-linear")
    lora = METHODS["lora"].peft_config(tiny_model, settings)
    model = load_model(tiny_model, "float32")
    if attention:
        model.set_attn_implementation(attention)
    rows = render_records(tokenizer, records, Rendering(256)).rows
    return ResponseTrainer(model, tokenizer, config, lora, rows, [], extras)


def test_the_trainer_shares_unless_rows_are_packed_or_dropped_from_or_attention_is_another(
    tiny_model, tokenizer, records, tmp_path
):
    make = tiny_model, tokenizer, records, tmp_path
    assert trainer(*make).shares
    assert not trainer(*make, Extras(packing=True)).shares
    assert not trainer(*make, dropout=0.1).shares
    assert not trainer(*make, attention="eager").shares


def test_the_trainers_loss_is_the_same_with_sharing_and_without(tiny_model, tokenizer, records, tmp_path):
    ours = trainer(tiny_model, tokenizer, records, tmp_path)
    inputs = ours.data_collator([ours.train_dataset[i] for i in range(4)])
    where = lay_out_batch(inputs["input_ids"], inputs["labels"])
    assert where.shared > 5
    widths = []
    unwrap_model(ours.model).get_decoder().register_forward_pre_hook(
        lambda module, args, given: widths.append(given["input_ids"].numel()), with_kwargs=True
    )
    losses = [ours.compute_loss(ours.model, dict(inputs)).item()]
    ours.shares = False
    losses.append(ours.compute_loss(ours.model, dict(inputs)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert widths == [where.shared + len(where.rests), inputs["input_ids"].numel()]
    assert widths[0] < widths[1] - 3 * where.shared


def test_dropout_is_seen_wherever_it_is():
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SHAPE))
    assert not has_dropout(model)
    assert has_dropout(AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", attention_dropout=0.1, **SHAPE)))
    assert has_dropout(get_peft_model(model, LoraConfig(lora_dropout=0.1, target_modules="all-linear")))
