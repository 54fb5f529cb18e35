"""What is frozen keeps its bits, thaws at its step with its own rate, and a resume changes nothing."""

import math

import pytest
import torch
from torch.utils.data import Dataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tunelock.run.errors import Stop
from tunelock.training.freezing import find_decoder_layers, freeze_parts

SCHEDULE = [{"at": 0.7, "layers": 1, "learning_rate": 1e-4}, {"at": 0.35, "layers": 2, "learning_rate": 5e-4}]
STEPS = 10  # layers 2 and 3 of the four frozen ones thaw at step 4 (of 0 to 9), layer 1 at step 7, layer 0 never


class Rows(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        ids = torch.randint(1, 61, (12,), generator=torch.Generator().manual_seed(i))
        return {"input_ids": ids, "labels": ids}


def make(tied: bool = True) -> LlamaForCausalLM:
    """A random Llama of five layers, the same each time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=5, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=tied, attention_dropout=0.1,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class ThawingTrainer(Trainer):
    """A trainer as the house's is to be: rates of their own for the phases."""

    def create_optimizer(self, model=None):
        return self.thawing.own_rates(super().create_optimizer(model))


class Watch(TrainerCallback):
    """Notes after each step which layers moved, and before each update the rate of every parameter group."""

    def __init__(self, model, stop_after=None):
        self.model, self.stop_after, self.moved, self.rates = model, stop_after, [], []
        self.last = self.sums()

    def sums(self) -> list[torch.Tensor]:
        return [torch.cat([p.detach().flatten() for p in layer.parameters()]) for layer in self.model.model.layers]

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_step_end(self, args, state, control, **kwargs):
        now = self.sums()
        self.moved.append([not torch.equal(a, b) for a, b in zip(self.last, now)])
        self.last = now
        control.should_training_stop = control.should_training_stop or state.global_step == self.stop_after


def train(folder, model, freeze_layers=4, schedule=None, embeddings=True, stop_after=None, resume=None, **options):
    thawing = freeze_parts(model, embeddings, freeze_layers, schedule)
    watch = Watch(model, stop_after)
    settings = {"learning_rate": 2e-3, "weight_decay": 0.1, "lr_scheduler_type": "cosine", "warmup_steps": 2} | options
    args = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=2, save_strategy="steps", save_steps=1,
        use_cpu=True, report_to="none", disable_tqdm=True, logging_strategy="no", **settings,
    )  # fmt: skip
    trainer = ThawingTrainer(model=model, args=args, train_dataset=Rows(), callbacks=[thawing, watch])
    trainer.thawing = thawing
    trainer.train(resume_from_checkpoint=resume)
    return trainer, watch


def weights(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_frozen_weights_keep_their_bits_and_all_others_move(tmp_path):
    model = make()
    before = weights(model)
    trainer, _ = train(tmp_path, model, freeze_layers=2)
    frozen = {name for name, value in before.items() if torch.equal(value, weights(model)[name])}
    assert frozen == {n for n in before if n.startswith(("model.embed", "model.layers.0.", "model.layers.1."))}
    known = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert known == {id(parameter) for name, parameter in model.named_parameters() if name not in frozen}


def test_layers_thaw_from_the_top_at_their_step(tmp_path):
    _, watch = train(tmp_path, make(), schedule=SCHEDULE)
    assert watch.moved[0] == [False] * 4 + [False]  # warm-up starts from rate 0
    for step in range(1, STEPS):
        assert watch.moved[step] == [False, step >= 7, step >= 4, step >= 4, True], step


def test_each_phase_has_its_rate_and_the_common_shape(tmp_path):
    trainer, watch = train(tmp_path, make(), schedule=SCHEDULE)
    groups = trainer.optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == [2e-3, 2e-3, 5e-4, 1e-4, 5e-4, 1e-4]
    assert [group["weight_decay"] for group in groups] == [0.1, 0, 0.1, 0.1, 0, 0]
    for step, rates in enumerate(watch.rates):
        share = step / 2 if step < 2 else (1 + math.cos(math.pi * (step - 2) / (STEPS - 2))) / 2
        assert rates == pytest.approx([share * group["initial_lr"] for group in groups])


@pytest.mark.parametrize("stop_after", [2, 4, 5, 8])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path, stop_after):
    whole, _ = train(tmp_path / "a", make(), schedule=SCHEDULE)
    train(tmp_path / "b", make(), schedule=SCHEDULE, stop_after=stop_after)
    resumed, _ = train(tmp_path / "b", make(), schedule=SCHEDULE, resume=str(tmp_path / f"b/checkpoint-{stop_after}"))
    assert resumed.state.global_step == STEPS
    ends = [weights(trainer.model) for trainer in (whole, resumed)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    states = [trainer.optimizer.state_dict() for trainer in (whole, resumed)]
    assert (
        states[0]["param_groups"] == states[1]["param_groups"]
        and states[0]["state"].keys() == states[1]["state"].keys()
    )
    for key, state in states[0]["state"].items():
        assert all(torch.equal(torch.as_tensor(value), torch.as_tensor(states[1]["state"][key][name]))
                   for name, value in state.items())  # fmt: skip


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("embeddings", "deepest"), [(True, 3), (False, 0)])
def test_autograd_goes_no_deeper_than_the_lowest_trained_weight(tmp_path, checkpointing, embeddings, deepest):
    model, reached = make(), set()
    for number, layer in enumerate(model.model.layers):
        layer.register_forward_hook(
            lambda _, __, out, number=number: reached.add(number) if out.requires_grad else None
        )
    train(tmp_path, model, freeze_layers=3, embeddings=embeddings, gradient_checkpointing=checkpointing)
    assert reached == set(range(deepest, 5))


def test_a_head_tied_to_frozen_embeddings_is_frozen_and_another_is_trained():
    tied, untied = make(), make(tied=False)
    freeze_parts(tied, True, 0, None)
    freeze_parts(untied, True, 0, None)
    assert not tied.lm_head.weight.requires_grad
    assert untied.lm_head.weight.requires_grad and not untied.get_input_embeddings().weight.requires_grad


def test_models_with_other_names_for_their_layers_are_known():
    model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=16, n_head=2, vocab_size=61, n_positions=16))
    assert len(find_decoder_layers(model)) == 3
    freeze_parts(model, True, 2, None)
    trained = {
        name.removeprefix("transformer.").rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad
    }
    assert {name.split(".")[0] for name in trained} == {"h", "ln_f"} and {
        n.split(".")[1] for n in trained if "h." in n
    } == {"2"}


@pytest.mark.parametrize(
    ("at", "max_steps", "start"), [(0.0, 9, 0), (0.1, 30, 3), (0.5, 7, 4), (0.5, 8, 4), (0.99, 8, 8)]
)
def test_a_phase_starts_at_the_first_step_at_or_after_its_share(at, max_steps, start):
    (phase,) = freeze_parts(make(), True, 2, [{"at": at, "layers": 2, "learning_rate": 1e-4}]).phases
    assert phase.start(max_steps) == start and (phase.first, phase.last) == (0, 1)


def test_more_layers_than_there_are_is_a_stop():
    with pytest.raises(Stop, match="freeze_layers is 6, but the model has 5 layers"):
        freeze_parts(make(), True, 6, None)
    with pytest.raises(Stop, match="trains 3 layers, but freeze_layers freezes 2"):
        freeze_parts(make(), True, 2, SCHEDULE)
