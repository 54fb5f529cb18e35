"""The penalties against forgetting are what their formulas say, gradients included, and hold the model back."""

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import (
    BitsAndBytesConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

from tunelock.rendering.conversation import IGNORE
from tunelock.run.errors import Stop
from tunelock.training.freezing import freeze_parts
from tunelock.training.penalties.all_penalties import build_penalty
from tunelock.training.penalties.displacement import low_rank_pull
from tunelock.training.penalties.kl_divergence import CHUNK
from tunelock.training.penalties.replay import draw_rows

BATCH = 5
SIZES = {"vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.2}  # fmt: skip


def make(method: str = "full", dtype: torch.dtype = torch.float32, **options):
    """A random Llama of 20,000 weights, the same each time; `lora` takes PEFT's `options`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)).to(dtype)
    if method == "full":
        return model
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | options
    return get_peft_model(model, LoraConfig(**options))


def replay(count: int = 12, length: int = 20) -> list[dict]:
    """Rendered rows of several lengths, the second half of each supervised."""
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(1, 101, (length - i % 4,), generator=generator).tolist() for i in range(count)]
    return [
        {"id": str(i), "input_ids": row, "labels": [IGNORE] * (len(row) // 2) + row[len(row) // 2 :]}
        for i, row in enumerate(ids)
    ]


ROWS = replay()


def trained(model) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def shake(model, size: float = 0.05) -> None:
    """Move the trained weights, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def adapted(model) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def dense(layer) -> torch.Tensor:
    """The whole matrix that LoRA adds to a layer, by autograd."""
    return layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight


def agree(found: torch.Tensor, model, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """The penalty and its gradients are the expected ones, to a relative tolerance."""
    weights = trained(model)
    ours = torch.autograd.grad(found, list(weights.values()))
    theirs = torch.autograd.grad(expected, list(weights.values()))
    assert found.item() == pytest.approx(expected.item(), rel=tolerance) and expected.item() > 0
    for name, one, other in zip(weights, ours, theirs, strict=True):
        assert (one - other).norm() <= tolerance * other.norm(), name


def test_l2_of_full_tuning_is_half_the_squared_distance_to_the_base():
    model = make("full")
    base = {name: parameter.detach().clone() for name, parameter in trained(model).items()}
    pull = build_penalty("l2", 0.3, model, [], BATCH, 0)
    assert pull(model, 0) == 0
    shake(model)
    expected = 0.15 * sum((parameter - base[name]).square().sum() for name, parameter in trained(model).items())
    agree(pull(model, 0), model, expected)


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"bias": "all"}])
def test_l2_of_lora_is_that_of_the_dense_matrices_it_adds(options):
    model = make("lora", **options)
    pull = build_penalty("l2", 0.3, model, [], BATCH, 0)
    shake(model)
    agree(pull(model, 0), model, 0.15 * sum(dense(layer).square().sum() for layer in adapted(model).values()))


def test_biases_trained_beside_lora_count_as_moved():
    model = torch.nn.Sequential(torch.nn.Linear(8, 8))
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["0"], bias="lora_only"))
    model.device = torch.device("cpu")
    pull = build_penalty("l2", 1.0, model, [], BATCH, 0)
    with torch.no_grad():
        model.base_model.model[0].base_layer.bias.add_(0.5)
    assert pull(model, 0).item() == pytest.approx(8 * 0.25 / 2)


def naive_fisher(model, weights: dict, rows: list[dict]) -> dict[str, torch.Tensor]:
    """Squared gradients of each row's log-likelihood by transformers' own loss, per supervised token."""
    total, tokens = dict.fromkeys(weights, 0.0), 0
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        count = int((labels[:, 1:] != IGNORE).sum())
        grads = torch.autograd.grad(model(input_ids=ids, labels=labels).loss * count, list(weights.values()))
        tokens += count
        total = {name: total[name] + grad.square() for name, grad in zip(weights, grads, strict=True)}
    return {name: value / tokens for name, value in total.items()}


def test_ewc_of_full_tuning_weighs_with_the_fisher_information():
    model = make("full")
    base = {name: parameter.detach().clone() for name, parameter in trained(model).items()}
    information = naive_fisher(model, trained(model), ROWS)
    pull = build_penalty("ewc", 0.3, model, ROWS, BATCH, 0)
    assert all(parameter.grad is None for parameter in model.parameters())
    shake(model)
    expected = sum((information[name] * (p - base[name]).square()).sum() for name, p in trained(model).items())
    agree(pull(model, 0), model, 0.15 * expected)


def test_ewc_of_lora_is_that_of_the_dense_matrices_and_leaves_the_base_frozen():
    plain = make("full")
    information = naive_fisher(plain, {n: p for n, p in plain.named_parameters() if "proj" in n}, ROWS)
    model = make("lora")
    before = set(trained(model))
    pull = build_penalty("ewc", 0.3, model, ROWS, BATCH, 0)
    assert set(trained(model)) == before and all(parameter.grad is None for parameter in model.parameters())
    shake(model)
    key = "{}.weight".format
    expected = sum(
        (information[key(name.removeprefix("base_model.model."))] * dense(layer).square()).sum()
        for name, layer in adapted(model).items()
    )
    agree(pull(model, 0), model, 0.15 * expected)


def naive_divergence(model, base_logits, batch) -> torch.Tensor:
    """KL by `torch.nn.functional.kl_div` over whole logits, row by row, the mean over the supervised tokens."""
    total, tokens = 0.0, 0
    for row in batch:
        chosen = torch.tensor(row["labels"])[1:] != IGNORE
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, -len(chosen) - 1 : -1][chosen].float()
        total += torch.nn.functional.kl_div(
            logits.log_softmax(-1), base_logits(row)[:-1][chosen].softmax(-1), reduction="sum"
        )
        tokens += int(chosen.sum())
    return total / tokens


def batch_of(pull, rows, step) -> list[dict]:
    """The rows of a step, found again by their tokens."""
    ids, _ = pull.batches[pull.choose_batch(step)]
    known = {tuple(row["input_ids"]): row for row in rows}
    return [
        next(row for key, row in known.items() if list(key) == line[: len(key)].tolist() and not line[len(key) :].any())
        for line in ids
    ]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_kl_and_its_gradients_agree_with_a_naive_computation(method):
    base = make("full")
    model = make(method)
    pull = build_penalty("kl", 0.3, model, ROWS, BATCH, 0)
    assert pull(model, 2).item() == pytest.approx(0, abs=1e-6)
    shake(model)
    batch = batch_of(pull, ROWS, 2)
    with torch.no_grad():
        answers = {row["id"]: base(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in batch}
    agree(pull(model, 2), model, 0.3 * naive_divergence(model, lambda row: answers[row["id"]], batch), 1e-4)


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_kl_measures_what_a_soft_prompt_changes(config):
    base, model = make(), get_peft_model(make(), config(task_type="CAUSAL_LM", num_virtual_tokens=4))
    pull = build_penalty("kl", 0.3, model, ROWS, BATCH, 0)
    shake(model)
    batch = batch_of(pull, ROWS, 1)
    with torch.no_grad():
        answers = {row["id"]: base(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in batch}
    agree(pull(model, 1), model, 0.3 * naive_divergence(model, lambda row: answers[row["id"]], batch), 1e-4)


def capped_model() -> Gemma2ForCausalLM:
    """A tiny Gemma 2, which caps its logits, here hard enough to matter."""
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=16, final_logit_softcapping=0.5))


def test_kl_knows_models_that_cap_their_logits():
    base, model, rows = capped_model(), capped_model(), replay(3)
    pull = build_penalty("kl", 1.0, model, rows, BATCH, 0)
    shake(model, 0.2)
    with torch.no_grad():
        answers = {row["id"]: base(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in rows}
    agree(pull(model, 0), model, naive_divergence(model, lambda row: answers[row["id"]], rows), 1e-4)


def test_kl_keeps_the_logits_of_no_more_than_a_chunk_of_tokens():
    model, rows = capped_model(), replay(4, 100)
    pull = build_penalty("kl", 1.0, model, rows, BATCH, 0)
    sizes = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel() if tensor.shape[-1:] == (101,) else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        pull(model, 0).backward()
    assert max(sizes) <= CHUNK * 101 < 4 * 48 * 101


def test_kl_is_zero_to_the_bit_at_the_start_in_bfloat16_too():
    model = make("lora", torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        pull = build_penalty("kl", 1.0, model, ROWS, BATCH, 0)
        assert pull(model, 0) == 0


def test_batches_follow_from_seed_and_step_alone_and_use_every_row():
    model = make("full")
    one, again = (build_penalty("kl", 1.0, model, ROWS, BATCH, 7) for _ in range(2))
    order = [one.choose_batch(step) for step in range(9)]
    assert order == [again.choose_batch(step) for step in range(9)]
    assert [sorted(order[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert len({tuple(order[i : i + 3]) for i in (0, 3, 6)}) > 1
    assert order != [build_penalty("kl", 1.0, model, ROWS, BATCH, 8).choose_batch(step) for step in range(9)]
    assert draw_rows(ROWS, 7, 4) == draw_rows(ROWS, 7, 4) != draw_rows(ROWS, 8, 4) and len(draw_rows(ROWS, 7, 4)) == 4


@pytest.mark.parametrize("regularization", ["l2", "ewc", "kl"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_strong_weight_holds_the_model_at_the_base_and_a_weak_one_lets_it_go(method, regularization):
    def distance(weight: float) -> float:
        """How far the penalised quantity is from the base after some steps towards other answers."""
        model = make(method)
        pull = build_penalty(regularization, weight, model, ROWS, BATCH, 0)
        optimizer = torch.optim.AdamW(trained(model).values(), lr=3e-3, weight_decay=0.0)
        ids = torch.tensor([[5, 6, 7, 8, 9, 10] * 3])
        for step in range(12):
            loss = model(input_ids=ids, labels=ids).loss + pull(model, step)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return pull(model, 0).item() / weight

    strong, weak = {"l2": (100, 1e-4), "ewc": (1e4, 1e-3), "kl": (1e3, 1e-3)}[regularization]
    held, free = distance(strong), distance(weak)
    assert free > 1e-4 and held < 0.3 * free


class PenalisedTrainer(Trainer):
    """A trainer that adds the penalty once an optimiser step, after the last batch of the step."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            with self.accelerator.autocast():
                extra = self.penalty(model, self.state.global_step)
            self.accelerator.backward(extra)
            loss += extra.detach()
        return loss


def penalised(folder, model, pull, steps: int = 5, batch: int = 4, **options) -> PenalisedTrainer:
    """A trainer that takes four rows a step, in batches of `batch`."""
    settings = {"learning_rate": 1e-2, "lr_scheduler_type": "constant", "save_steps": 1} | options
    args = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=batch, use_cpu=True, report_to="none",
        gradient_accumulation_steps=4 // batch, disable_tqdm=True, logging_strategy="no", **settings,
    )  # fmt: skip
    rows = [{"input_ids": row["input_ids"][:16], "labels": row["input_ids"][:16]} for row in ROWS]
    trainer = PenalisedTrainer(model=model, args=args, train_dataset=rows)
    trainer.penalty = pull
    return trainer


@pytest.mark.parametrize("regularization", ["l2", "ewc", "kl"])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(regularization, tmp_path):
    def run(folder, steps: int, resume: str | None = None) -> dict[str, torch.Tensor]:
        model = make("lora", lora_dropout=0.1)
        pull = build_penalty(regularization, 1.0, model, ROWS, BATCH, 0)
        penalised(folder, model, pull, steps).train(resume_from_checkpoint=resume)
        return {name: parameter.detach().clone() for name, parameter in trained(model).items()}

    whole = run(tmp_path / "a", 5)
    run(tmp_path / "b", 2)
    resumed = run(tmp_path / "b", 5, resume=str(tmp_path / "b/checkpoint-2"))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize("batch", [4, 1])
def test_the_penalty_weighs_the_same_under_gradient_accumulation(batch, tmp_path, monkeypatch):
    model = make()
    base = {name: parameter.detach().clone() for name, parameter in trained(model).items()}
    pull = build_penalty("l2", 1.0, model, [], BATCH, 0)
    shake(model)
    before = {name: parameter.detach() - base[name] for name, parameter in trained(model).items()}
    monkeypatch.setattr(PenalisedTrainer, "compute_loss", lambda *a, **k: 0 * model.lm_head.weight.sum())
    penalised(tmp_path, model, pull, 1, batch, optim="sgd", learning_rate=0.1, max_grad_norm=0).train()
    for name, parameter in trained(model).items():  # a step of gradient descent goes a tenth of the way back
        torch.testing.assert_close(parameter - base[name], 0.9 * before[name], rtol=1e-4, atol=1e-6)


def test_layers_that_thaw_later_are_measured_from_the_base():
    model = make("full")
    callback = freeze_parts(model, True, 1, [{"at": 0.5, "layers": 1, "learning_rate": 1e-4}])
    pull = build_penalty("l2", 1.0, model, [], BATCH, 0)
    (phase,) = callback.phases
    for parameter in phase.parameters:
        parameter.requires_grad_(False)
    frozen = pull(model, 0)
    for parameter in phase.parameters:
        parameter.requires_grad_()
    with torch.no_grad():
        phase.parameters[0].add_(1.0)
    assert frozen == 0 and pull(model, 1).item() == pytest.approx(phase.parameters[0].numel() / 2)
    assert not any("embed" in name for name in pull.dense)


def test_low_rank_pull_makes_no_matrix_of_the_layers_size_without_importance():
    a, b = torch.randn(4, 300, requires_grad=True), torch.randn(200, 4, requires_grad=True)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        low_rank_pull(a, b, 2.0, None).backward()
    assert max(sizes) <= 4 * 300


def test_what_cannot_be_is_said_plainly(tmp_path):
    assert build_penalty("none", 1.0, make("full"), ROWS, BATCH, 0) is None
    for regularization in ("ewc", "kl"):
        with pytest.raises(Stop, match="needs replay rows"):
            build_penalty(regularization, 1.0, make("full"), [], BATCH, 0)
    with pytest.raises(Stop, match="DoRA"):
        build_penalty("l2", 1.0, make("lora", use_dora=True), [], BATCH, 0)
    soft = get_peft_model(make("full"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    for regularization in ("l2", "ewc"):
        with pytest.raises(Stop, match="use kl"):
            build_penalty(regularization, 1.0, soft, ROWS, BATCH, 0)
    make().save_pretrained(tmp_path)
    quantised = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    quantised = get_peft_model(quantised, LoraConfig(r=4, target_modules="all-linear"))
    with pytest.raises(Stop, match="quantised"):
        build_penalty("ewc", 1.0, quantised, ROWS, BATCH, 0)
    assert build_penalty("l2", 1.0, quantised, [], BATCH, 0)(quantised, 0) == 0
