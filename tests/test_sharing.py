"""What the rows of a batch begin with is computed once, and nothing comes out otherwise."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from stages.lib.tokens.rendering import fit
from stages.lib.training.adapter import lora_config
from stages.lib.training.cpu_attention import use_cpu_attention
from stages.lib.training.modeling import load_model
from stages.lib.training.optimisation import sft_config
from stages.lib.training.sharing import apart, has_dropout, joint_inputs, joint_states, shared_start, together
from stages.lib.training.trainer import PLAIN, Extras, ResponseTrainer
from stages.lib.training.tuned import hidden_states, plain

SHAPE = {"vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


def batch(rows: int, shared: int, length: int) -> torch.Tensor:
    """Random ids (rows, length) that begin alike, and differ in the token after that."""
    ids = torch.randint(0, 101, (rows, length), generator=torch.Generator().manual_seed(0))
    ids[:, :shared] = ids[0, :shared]
    ids[:, shared : shared + 1] = torch.arange(rows)[:, None]
    return ids


@pytest.mark.parametrize(
    "rows, found",
    [
        ([[5, 6, 7, 8], [5, 6, 9, 8], [5, 6, 7, 8]], 2),
        ([[5, 6], [6, 6]], 0),
        ([[5, 6, 7], [5, 6, 7]], 2),  # the last token of equal rows stays each row's own
        ([[5, 6, 7]], 0),
        ([[5], [5]], 0),
    ],
)
def test_what_all_rows_begin_with_is_found(rows, found):
    assert shared_start(torch.tensor(rows)) == found


def test_a_batch_is_joined_and_taken_apart_again():
    ids = batch(3, 4, 10)
    sequence = together(ids, 4)
    assert sequence.shape == (1, 4 + 3 * 6) and torch.equal(apart(sequence, 3, 4), ids)
    wide = torch.randn(3, 10, 2, 5)
    wide[:, :4] = wide[:1, :4]
    assert torch.equal(apart(together(wide, 4), 3, 4), wide)


def test_each_token_of_a_joint_sequence_sees_its_own_row():
    given = joint_inputs(batch(2, 2, 4), 2)
    assert given["position_ids"].tolist() == [[0, 1, 2, 3, 2, 3]]
    assert given["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
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
        use_cpu_attention(plain(model))
    ids, ends = batch(3, 9, 80), []
    weights = torch.randn(3, 80, 32, generator=torch.Generator().manual_seed(1))
    for states in (hidden_states, joint_states):
        model.zero_grad()
        found = states(model, ids)
        (found * weights).sum().backward()
        ends.append([found.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    assert len(ends[0]) == 1 + 2 * 14
    for wanted, found in zip(*ends, strict=True):
        assert (found - wanted).norm() < 1e-5 * wanted.norm()


def trainer(tiny_model, tokenizer, records, folder, extras=PLAIN, dropout=0.0, attention=None) -> ResponseTrainer:
    config = sft_config(folder, "float32", 4, max_steps=1, max_length=256, gradient_checkpointing=False, seed=0)
    lora = lora_config(tiny_model, 4, 8, dropout, "all-linear")
    model = load_model(tiny_model, "float32")
    if attention:
        model.set_attn_implementation(attention)
    rows, _ = fit(tokenizer, records, None, 256)
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
    assert shared_start(inputs["input_ids"]) > 5
    widths = []
    plain(ours.model).get_decoder().register_forward_pre_hook(
        lambda module, args, given: widths.append(given["input_ids"].numel()), with_kwargs=True
    )
    losses = [ours.compute_loss(ours.model, dict(inputs)).item()]
    ours.shares = False
    losses.append(ours.compute_loss(ours.model, dict(inputs)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert widths[0] == widths[1] - 3 * shared_start(inputs["input_ids"])


def test_dropout_is_seen_wherever_it_is():
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SHAPE))
    assert not has_dropout(model)
    assert has_dropout(AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", attention_dropout=0.1, **SHAPE)))
    assert has_dropout(get_peft_model(model, LoraConfig(lora_dropout=0.1, target_modules="all-linear")))
