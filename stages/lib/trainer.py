"""TRL's SFTTrainer with the loss on the answer alone, length-grouped batches and whole checkpoints."""

import math
from contextlib import nullcontext
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from peft.helpers import disable_input_dtype_casting
from safetensors import SafetensorError
from transformers import PreTrainedModel, Trainer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig, SFTTrainer

from stages.lib.checkpoints import new_checkpoint, prune
from stages.lib.errors import Stop
from stages.lib.losses import head_weight, response_loss
from stages.lib.modeling import device
from stages.lib.progress import ProgressBar
from stages.lib.rendering import IGNORE
from stages.lib.sampling import LengthGroupedSampler

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
        dataset_kwargs={"skip_prepare_dataset": True},  # TRL would drop and truncate rows without a word
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
        if self.accelerator.num_processes > 1:
            # `compute_loss` goes past the wrapper that sums the gradients of several processes.
            raise Stop("training runs in one process only; start it without torchrun or `accelerate launch`.")
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
            labelled = int((inputs["labels"][:, 1:] != IGNORE).sum())
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
        except (RuntimeError, SafetensorError) as error:  # how torch.save and safetensors say that the disk is full
            raise Stop(
                f"the checkpoint of step {step} cannot be written ({error}); free the disk and run again."
            ) from None
        finally:
            self.saving_to = None
        prune(root, keep={best_step(self.state.log_history) or step, step})


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
