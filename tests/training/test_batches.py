"""Packing and collating: every row once, none sees another, and the loss of packed rows is that of the rows alone."""

import random

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback

from tunelock.model.modeling import load_model, make_deterministic
from tunelock.model.tuned import compute_hidden_states
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import Rendering, render_records
from tunelock.run.errors import Stop
from tunelock.training.batches import Collator, LengthGroupedSampler, assign_packs, join_rows, make_dataset, pack_rows
from tunelock.training.curves import extract_curve
from tunelock.training.high_steps import MOST, list_high_steps, list_step_rows
from tunelock.training.optimisation import build_sft_config
from tunelock.training.trainer import Extras, ResponseTrainer

MAX_LENGTH = 128
LENGTHS = {
    "many short rows": [random.Random(0).randint(1, 40) for _ in range(300)],
    "any length": [random.Random(1).randint(1, MAX_LENGTH) for _ in range(300)],
    "few lengths": [random.Random(2).choice([30, 32, 64, 96]) for _ in range(300)],
    "all fill a sequence": [MAX_LENGTH] * 5,
    "one row": [7],
    "none": [],
}


@pytest.fixture(scope="module")
def rows(tokenizer, records) -> list[dict]:
    """Chat rows and raw texts of 15 to 60 tokens."""
    texts = ["A raw text about buffers.", "Another text, rather longer. " * 4, "Overflow."]
    raw = [{"id": f"text-{n}", "messages": [{"role": "text", "content": text}]} for n, text in enumerate(texts)]
    return render_records(tokenizer, records + raw, Rendering(MAX_LENGTH)).rows


def best_fit(lengths: list[int], max_length: int) -> list[list[int]]:
    """Best-fit decreasing in its plainest form: each row goes where it leaves the least room."""
    packs, room = [], []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        places = [number for number, left in enumerate(room) if left >= lengths[row]]
        if not places:
            places = [len(packs)]
            packs.append([])
            room.append(max_length)
        place = min(places, key=lambda number: room[number])
        packs[place].append(row)
        room[place] -= lengths[row]
    return packs


@pytest.mark.parametrize("name", LENGTHS)
def test_every_row_is_packed_once_and_where_it_fits_best(name):
    lengths = LENGTHS[name]
    packs = assign_packs(lengths, MAX_LENGTH)
    assert sorted(row for members in packs for row in members) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in members) <= MAX_LENGTH for members in packs)
    assert packs == best_fit(lengths, MAX_LENGTH) == assign_packs(list(lengths), MAX_LENGTH)


def test_packing_many_short_rows_leaves_next_to_no_room():
    lengths = LENGTHS["many short rows"]
    assert len(assign_packs(lengths, MAX_LENGTH)) <= 1.02 * sum(lengths) / MAX_LENGTH + 1


def test_a_packed_sequence_is_its_rows_one_after_the_other(rows):
    by_id = {row["id"]: row for row in rows}
    sequences = pack_rows(rows, MAX_LENGTH)
    assert 1 < len(sequences) < len(rows) / 2
    assert sorted(name for sequence in sequences for name in sequence["id"].split(", ")) == sorted(by_id)
    for sequence in sequences:
        start = 0
        for row in (by_id[name] for name in sequence["id"].split(", ")):
            part = slice(start, start := start + len(row["input_ids"]))
            assert sequence["input_ids"][part] == row["input_ids"]
            assert sequence["labels"][part] == [IGNORE, *row["labels"][1:]]
            assert sequence["position_ids"][part] == list(range(len(row["input_ids"])))
        assert start == len(sequence["input_ids"]) == len(sequence["labels"]) == len(sequence["position_ids"])
        assert start <= MAX_LENGTH and "weights" not in sequence


def test_a_raw_text_learns_its_first_token_from_no_other_row(rows):
    text = next(row for row in rows if row["id"] == "text-0")
    assert text["labels"][0] != IGNORE  # so that packing has something to take away
    assert join_rows([rows[0], text])["labels"][len(rows[0]["input_ids"])] == IGNORE


def test_each_token_of_a_packed_sequence_has_the_weight_of_its_row():
    row = {"id": "a", "input_ids": [5, 6], "labels": [IGNORE, 6]}
    other = {"id": "b", "input_ids": [7, 8, 9], "labels": [IGNORE, 8, 9], "weight": 2.5}
    assert join_rows([row, other])["weights"] == [1.0, 1.0, 2.5, 2.5, 2.5]
    assert make_dataset([other])[0]["weights"] == [2.5, 2.5, 2.5]


def test_shorter_rows_are_padded_on_the_right_with_what_counts_for_nothing():
    found = make_dataset([
        {"id": "a", "input_ids": [5, 6], "labels": [5, 6], "position_ids": [0, 0], "weights": [0.5, 0.5]},
        {"id": "b", "input_ids": [7, 8, 9], "labels": [7, IGNORE, 9], "position_ids": [0, 1, 2], "weights": [1.0] * 3},
    ])  # fmt: skip
    batch = Collator(3)([found[0], found[1]])
    assert batch["input_ids"].tolist() == [[5, 6, 3], [7, 8, 9]]
    assert batch["labels"].tolist() == [[IGNORE, 6, IGNORE], [IGNORE, IGNORE, 9]]
    assert batch["position_ids"].tolist() == [[0, 0, 0], [0, 1, 2]]
    assert batch["weights"].tolist() == [[0.5, 0.5, 0.0], [1.0, 1.0, 1.0]]
    assert batch["row"].tolist() == [0, 1]
    plain = Collator(3)([make_dataset([{"id": "a", "input_ids": [5], "labels": [5]}])[0]])
    assert plain.keys() == {"input_ids", "labels", "row"}


def trainer_for(tiny_model, tokenizer, rows, folder, packing: bool) -> ResponseTrainer:
    """A trainer of the whole tiny model in float32, all of whose rows fit into one batch."""
    make_deterministic(0, 1)
    config = build_sft_config(folder, "float32", len(rows), max_length=MAX_LENGTH, gradient_checkpointing=False)
    return ResponseTrainer(
        load_model(tiny_model, "float32"), tokenizer, config, None, rows, [], Extras(packing=packing)
    )


def test_packing_is_tried_before_it_is_believed(tokenizer, rows, tmp_path):
    """BLOOM has no use for positions, so it would take packed rows for one text."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("bloom", vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2)
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        weight.data.mul_(12 if weight.ndim > 1 else 1)
    options = build_sft_config(tmp_path, "float32", 2, max_length=MAX_LENGTH, gradient_checkpointing=False)
    with pytest.raises(Stop, match="see each other in BloomForCausalLM; set packing: false"):
        ResponseTrainer(model, tokenizer, options, None, rows, [], Extras(packing=True))


class Witness(TrainerCallback):
    """Notes which rows were trained on in each optimiser step."""

    def __init__(self):
        self.trainer, self.steps = None, []

    def on_step_begin(self, args, state, control, **kwargs):
        self.steps.append([])

    def watch(self, trainer: ResponseTrainer) -> None:
        step = trainer.training_step

        def watched(model, inputs, *more):
            self.steps[-1] += inputs["row"].tolist()
            return step(model, inputs, *more)

        trainer.training_step = watched


@pytest.mark.parametrize("packing", [False, True])
def test_the_rows_of_a_step_are_those_that_were_trained_on_in_it(tiny_model, tokenizer, rows, tmp_path, packing):
    make_deterministic(0, 1)
    config = build_sft_config(
        tmp_path, "float32", 2, max_length=MAX_LENGTH, gradient_checkpointing=False, gradient_accumulation_steps=2,
        num_train_epochs=2, seed=3, save_strategy="no",
    )  # fmt: skip
    rows, witness = rows[:7], Witness()
    trainer = ResponseTrainer(
        load_model(tiny_model, "float32"), tokenizer, config, None, rows, [], Extras(packing, callbacks=[witness])
    )
    witness.watch(trainer)
    trainer.train()
    sampler = LengthGroupedSampler(trainer.lengths, 2, seed=3)
    found = [list_step_rows(sampler, 2, step) for step in range(1, trainer.state.max_steps + 1)]
    assert found == witness.steps and len(found) > 1
    high = list_high_steps(extract_curve(trainer.state.log_history), trainer.row_ids, sampler, 2)
    assert {id for step in high for id in step["rows"]} == {row["id"] for row in rows}  # a short run keeps all


def test_the_steps_that_stand_out_are_kept_with_their_rows():
    losses = [3.0 - 0.02 * step for step in range(100)]
    losses[60], losses[80] = 9.0, 2.5
    log = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    sampler = LengthGroupedSampler([10] * 400, 4, seed=0)
    found = list_high_steps(log, [f"row-{n}" for n in range(400)], sampler, 1)
    assert len(found) == MOST and [one["step"] for one in found] == sorted(one["step"] for one in found)
    assert {61, 81} <= {one["step"] for one in found}
    (spike,) = [one for one in found if one["step"] == 61]
    assert spike["rows"] == [f"row-{n}" for n in list(sampler)[240:244]] and spike["loss"] == 9.0


def loss_and_gradients(trainer: ResponseTrainer) -> tuple[float, dict[str, torch.Tensor]]:
    (batch,) = trainer.get_train_dataloader()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in trainer.model.named_parameters()}


@pytest.mark.parametrize("weighted", [False, True])
def test_packed_rows_have_the_loss_and_the_gradients_of_the_rows_alone(weighted, tiny_model, tokenizer, rows, tmp_path):
    if weighted:
        rows = [row | {"weight": 0.5 + number % 3} for number, row in enumerate(rows)]
    alone, together = (trainer_for(tiny_model, tokenizer, rows, tmp_path, packing=packing) for packing in (False, True))
    assert len(together.train_dataset) < len(alone.train_dataset) == len(rows)
    (loss, wanted), (packed_loss, found) = loss_and_gradients(alone), loss_and_gradients(together)
    assert packed_loss == pytest.approx(loss, rel=1e-6)
    for name, gradient in wanted.items():
        assert gradient.norm() > 0
        assert (found[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_no_packed_row_sees_another(tiny_model, tokenizer, rows, tmp_path):
    trainer = trainer_for(tiny_model, tokenizer, rows, tmp_path, packing=True)
    batch = trainer.data_collator([trainer.train_dataset[number] for number in range(len(trainer.train_dataset))])
    ids, positions = batch["input_ids"], batch["position_ids"]
    before = compute_hidden_states(trainer.model, ids, positions)  # with gradients, as in training
    number = max(range(len(ids)), key=lambda i: trainer.row_ids[i].count(","))
    _, start, stop = (positions[number] == 0).nonzero().flatten().tolist()[:3]  # the second of at least three rows
    changed = ids.clone()
    changed[number, start:stop] = (changed[number, start:stop] + 1) % 1000
    differs = (before != compute_hidden_states(trainer.model, changed, positions)).any(-1)
    assert differs[number, start:stop].all()
    differs[number, start:stop] = False
    assert not differs.any()
    # Without the positions the rows after it would see it.
    leaking = [compute_hidden_states(trainer.model, some)[number, stop:] for some in (ids, changed)]
    assert not torch.equal(*leaking)


def test_packing_gives_the_same_sequences_in_the_same_order_each_time(tiny_model, tokenizer, rows, tmp_path):
    ones, others = (trainer_for(tiny_model, tokenizer, rows, tmp_path, packing=True) for _ in range(2))
    assert ones.row_ids == others.row_ids and ones.lengths == others.lengths
    assert list(ones._get_train_sampler()) == list(others._get_train_sampler())
    assert ones.train_dataset[:] == others.train_dataset[:]


def test_a_sampler_of_fewer_rows_than_a_batch_gives_them_all():
    assert sorted(LengthGroupedSampler([5, 9, 7], 8, seed=0)) == [0, 1, 2]
    assert list(LengthGroupedSampler([4], 1, seed=0)) == [0]
