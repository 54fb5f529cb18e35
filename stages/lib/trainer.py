"""TRL's SFTTrainer with the loss on the answer alone, length-grouped batches and whole checkpoints."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from peft.helpers import disable_input_dtype_casting
from tqdm import tqdm
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig, SFTTrainer

from stages.lib.checkpoints import new_checkpoint, prune
from stages.lib.errors import Stop
from stages.lib.losses import head_weight, response_loss
from stages.lib.modeling import device

# The params that pilot and train hand to `sft_config` alike, so that the pilot tries what train will do.
OPTIMISATION_PARAMS = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "learning_rate",
    "lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm", "max_length", "seed",
)  # fmt: skip


def sft_config(
    output_dir: Path, dtype: str, warmup_ratio: float, per_device_train_batch_size: int, **options
) -> SFTConfig:
    """TRL's settings with what is the same in every run of ours; `options` are more of TRL's."""
    return SFTConfig(
        output_dir=str(output_dir),
        bf16=dtype == "bfloat16",
        warmup_steps=warmup_ratio,  # transformers 5 reads a number below 1 as a ratio
        per_device_train_batch_size=per_device_train_batch_size,
        per_device_eval_batch_size=per_device_train_batch_size,
        logging_steps=1,  # a longer interval would forget its part of the sum at a resume
        use_cpu=device() == "cpu",
        dataloader_pin_memory=False,
        report_to="none",
        **options,
    )


class ResponseTrainer(SFTTrainer):
    """SFTTrainer for rows with `id`, `input_ids` and `labels` (see `lib.rendering`).

    Beside TRL's own behaviour it
    - computes logits only where there is a label, and drops the attention mask: rows are padded on the right,
      where causal attention cannot see the padding;
    - batches rows of similar length, in an order that follows from the seed and the epoch alone;
    - averages the validation loss over tokens, not over batches;
    - stops at the first NaN or infinite loss or gradient, before it reaches a checkpoint;
    - saves checkpoints that are whole or absent, and keeps the best and the last.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: SFTConfig,
                 peft_config: LoraConfig | None, train_rows: list[dict], eval_rows: list[dict]):  # fmt: skip
        self.row_ids = {tuple(row["input_ids"]): row["id"] for row in train_rows}
        self.lengths = [len(row["input_ids"]) for row in train_rows]
        self.saving_to: Path | None = None
        super().__init__(
            model=model,
            args=config,
            train_dataset=dataset(train_rows),
            eval_dataset=dataset(eval_rows) if eval_rows else None,
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=[ProgressBar(sum(self.lengths) / len(self.lengths))],
        )
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

    def train(self, *args, **kwargs):
        # PEFT would make a float32 copy of every layer's input; autocast has the adapter compute in bfloat16 anyway.
        with disable_input_dtype_casting(self.model) if isinstance(self.model, PeftModel) else nullcontext():
            return super().train(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        base = self.accelerator.unwrap_model(model)
        base = base.get_base_model() if hasattr(base, "get_base_model") else base
        weight = head_weight(base)
        if return_outputs or weight is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.accelerator.autocast():  # accelerate wraps the whole model's forward in it, which is not called
            hidden = base.get_decoder()(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
            total, tokens = response_loss(hidden, weight, inputs["labels"])
        return total / (tokens if num_items_in_batch is None else num_items_in_batch)

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            self.stop_at(f"the loss is {loss.item()}", inputs)
        self.last_inputs = inputs
        return loss

    def _clip_grad_norm(self, model):
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(norm):
            self.stop_at(f"the gradient norm is {float(norm)}", self.last_inputs)
        return norm

    def stop_at(self, fault: str, inputs: dict) -> None:
        """Stop the run, naming the rows of the batch."""
        rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].sum(1).tolist())
        names = [self.row_ids.get(tuple(ids[:length]), "?") for ids, length in rows]
        raise Stop(
            f"{fault} at step {self.state.global_step + 1} on rows {', '.join(names)}; the last good checkpoint "
            "is kept. Lower learning_rate or max_grad_norm, or look at those rows."
        )

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        self.model.eval()
        total, tokens = 0.0, 0
        for batch in self.get_eval_dataloader(eval_dataset):
            inputs = self._prepare_inputs(batch)
            labelled = int((inputs["labels"][:, 1:] != -100).sum())
            with torch.no_grad(), self.compute_loss_context_manager():
                total += self.compute_loss(self.model, inputs).item() * labelled
            tokens += labelled
        metrics = {f"{metric_key_prefix}_loss": total / tokens}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.model.train()
        return metrics

    def _get_train_sampler(self, train_dataset=None):
        return LengthGroupedSampler(self.lengths, self.args.train_batch_size, self.args.seed)

    def _get_output_dir(self, trial):
        return str(self.saving_to or self.args.output_dir)

    def _save_checkpoint(self, model, trial):
        root, step = Path(self.args.output_dir), self.state.global_step
        try:
            with new_checkpoint(root, step) as folder:
                self.saving_to = folder / "whole"
                Trainer._save_checkpoint(self, model, trial)  # SFTTrainer's would add a model card
                for file in (self.saving_to / f"checkpoint-{step}").iterdir():
                    file.rename(folder / file.name)
                (self.saving_to / f"checkpoint-{step}").rmdir()
                self.saving_to.rmdir()
        except RuntimeError as error:  # torch.save's way of saying that the disk is full
            raise Stop(
                f"the checkpoint of step {step} cannot be written ({error}); free the disk and run again."
            ) from None
        finally:
            self.saving_to = None
        prune(root, keep={best_step(self.state.log_history) or step, step})


class LengthGroupedSampler(torch.utils.data.Sampler):
    """Yield the indices of rows so that each run of `batch_size` holds rows of similar length.

    The batch with the longest row comes first, so that memory is taken, or found wanting, at step 1. The others
    come in random order (transformers' `group_by_length` walks from long to short, and the loss with it). Which
    rows meet and in what order follows from `seed` and the epoch alone, so a resumed run sees what an
    uninterrupted one does.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        jitter = torch.rand(len(self.lengths), generator=generator).tolist()
        order = sorted(range(len(self.lengths)), key=lambda i: (self.lengths[i] * (1 + 0.1 * jitter[i]), i))
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        largest = max(shuffled, key=lambda number: max(self.lengths[i] for i in batches[number]))
        for number in [largest, *(number for number in shuffled if number != largest)]:
            yield from batches[number]


class ProgressBar(TrainerCallback):
    """A bar with steps, loss, tokens a second and time left, on stderr."""

    def __init__(self, mean_length: float):
        self.mean_length = mean_length

    def on_train_begin(self, args, state, control, **kwargs):
        self.started, self.first = time.time(), state.global_step
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step", file=sys.stderr)

    def on_log(self, args, state, control, logs=None, **kwargs):
        rows = (state.global_step - self.first) * args.train_batch_size * args.gradient_accumulation_steps
        speed = f"{rows * self.mean_length / (time.time() - self.started):.0f}"
        shown = {key: f"{logs[key]:.3f}" for key in ("loss", "eval_loss") if key in logs}
        self.bar.set_postfix({**shown, "tokens/s": speed})

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def dataset(rows: list[dict]) -> Dataset:
    """The columns that TRL takes from rendered rows."""
    return Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows])


def best_step(log_history: list[dict]) -> int | None:
    """The step with the lowest validation loss, the earliest of equals; None before the first validation."""
    scores = [(entry["eval_loss"], entry["step"]) for entry in log_history if "eval_loss" in entry]
    return min(scores)[1] if scores else None


def curve(log_history: list[dict]) -> list[dict]:
    """The part of the trainer's log that is the same for an interrupted and an uninterrupted run: no clock in it."""
    keys = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss")
    rows = [{key: entry[key] for key in keys if key in entry} for entry in log_history]
    return [row for row in rows if "loss" in row or "eval_loss" in row]


def announce_cost(rows: list[dict], epochs: float, parameters: int) -> None:
    """Say on stderr how long training will take, from this machine's rate of bf16 matrix products.

    4 FLOPs a parameter and token (forward 2, backward through frozen weights 2), at the fifth of that rate which
    whole training steps reached in `benchmarks/training.py`.
    """
    side = 1024
    left, right = (torch.randn(side, side, device=device(), dtype=torch.bfloat16) for _ in range(2))
    started, products = time.time(), 0
    while time.time() - started < 0.3:
        (left @ right).sum().item()
        products += 1
    rate = products * 2 * side**3 / (time.time() - started)
    tokens = sum(len(row["input_ids"]) for row in rows) * epochs
    minutes = 4 * parameters * tokens / rate * 5 / 60
    print(
        f"{len(rows)} rows, {tokens:.0f} tokens to train on; about {minutes:.0f} min at this machine's "
        f"{rate / 1e9:.0f} GFLOP/s",
        file=sys.stderr,
    )
