"""TRL's SFTTrainer with the loss on the answer alone, length-grouped batches and whole checkpoints."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftConfig
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig

from tunelock.model.losses import compute_logits_loss, compute_response_loss, find_head_weight
from tunelock.model.sharing import can_share, compute_joint_states, has_dropout
from tunelock.model.trials import check_packing
from tunelock.model.tuned import compute_hidden_states, load_encoder, save_encoder, unwrap_model, without_input_copies
from tunelock.rendering.conversation import IGNORE
from tunelock.rendering.rendering import RenderedRow
from tunelock.run.errors import Stop
from tunelock.training.batches import Collator, LengthGroupedSampler, make_dataset, pack_rows
from tunelock.training.checkpoints import list_checkpoints, prune_checkpoints, stop_at_full_disk, write_checkpoint
from tunelock.training.curves import count_stale_validations, find_best_step
from tunelock.training.freezing import GradualUnfreezing
from tunelock.training.kernels.cpu_attention import use_cpu_attention
from tunelock.training.kernels.fused import fuse_lora_layers
from tunelock.training.stopping import VALIDATION_DUE, StoppableTrainer, take_random_state
from tunelock.watching.progress import Meter, ProgressBar


class Extras(NamedTuple):
    """What a run may have beside the loss over its rows.

    `patience` is how many validations may pass without a better loss; `penalty(model=model)`, called once before
    training, gives what each optimiser step adds to the loss (`tunelock.training.penalties.all_penalties`), or None.
    """

    packing: bool = False
    patience: int | None = None
    penalty: Callable | None = None
    unfreezing: GradualUnfreezing | None = None
    callbacks: Iterable[TrainerCallback] = ()


PLAIN = Extras()


class ResponseTrainer(StoppableTrainer):
    """SFTTrainer for rows with `id`, `input_ids`, `labels` and perhaps `weight` (see `tunelock.rendering.rendering`).

    Beside TRL's own behaviour it
    - computes logits only where there is a label, and drops the attention mask: rows are padded on the right,
      where causal attention cannot see the padding;
    - on a CPU and without dropout, computes no padding, and once what all rows of a batch begin with;
    - batches rows of similar length, in an order that follows from the seed and the epoch alone, or packs them;
    - averages the validation loss over tokens, not over batches;
    - stops at the first NaN or infinite loss or gradient, before it reaches a checkpoint;
    - saves checkpoints that are whole or absent, and keeps the best and the last;
    - stops on request, with a checkpoint (`StoppableTrainer`).
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: SFTConfig,
                 peft_config: PeftConfig | None, train_rows: list[RenderedRow], eval_rows: list[RenderedRow],
                 extras: Extras = PLAIN):  # fmt: skip
        rows = pack_rows(train_rows, config.max_length) if extras.packing else train_rows
        self.extras, self.row_ids = extras, [row["id"] for row in rows]
        self.lengths = [len(row["input_ids"]) for row in rows]
        self.saving_to: Path | None = None
        self.tokens_seen = 0  # by this process, padding left out
        self.meter = Meter(lambda: self.tokens_seen)
        unfreezing = [extras.unfreezing] if extras.unfreezing else []
        pad_id, routing = tokenizer.pad_token_id, model.config.get_text_config()
        routing_share = getattr(routing, "router_aux_loss_coef", None)
        super().__init__(
            model=model,
            args=config,
            data_collator=Collator(0 if pad_id is None else pad_id),
            train_dataset=make_dataset(rows),
            eval_dataset=make_dataset(eval_rows) if eval_rows else None,
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=[self.meter, ProgressBar(), *unfreezing, *extras.callbacks],
        )
        if routing_share is not None:  # TRL writes its own into the config, which full tuning saves
            routing.router_aux_loss_coef = routing_share
        if self.accelerator.num_processes > 1:
            # `compute_loss` goes past the wrapper that sums the gradients of several processes.
            raise Stop("training runs in one process only; start it without torchrun or `accelerate launch`.")
        for name, parameter in self.model.named_parameters():
            if "lora_" in name:  # TRL makes adapters of quantised bases bfloat16, too coarse for AdamW's steps
                parameter.data = parameter.data.float()
        fuse_lora_layers(self.model)
        quick = use_cpu_attention(unwrap_model(self.model))
        if extras.packing:
            check_packing(self.model)
        self.shares = quick and not extras.packing and not has_dropout(self.model) and can_share(self.model)
        with self.accelerator.autocast():
            self.penalty = extras.penalty(model=self.model) if extras.penalty else None
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

    def train(self, *args, **kwargs):
        with without_input_copies(self.model):
            return super().train(*args, **kwargs)

    def create_optimizer(self, model=None):
        fresh, optimizer = self.optimizer is None, super().create_optimizer(model)
        return self.extras.unfreezing.own_rates(optimizer) if fresh and self.extras.unfreezing else optimizer

    def log(self, logs, start_time=None):
        pull = {"penalty": self.pull} if self.penalty and "loss" in logs else {}
        super().log(logs | pull | self.meter.reading(), start_time)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        model = self.accelerator.unwrap_model(model)
        weight, labels, scales = find_head_weight(model), inputs["labels"], inputs.get("weights")
        sees = {key: inputs[key] for key in ("input_ids", "position_ids") if key in inputs}
        with self.accelerator.autocast():  # accelerate wraps the whole model's forward in it, which is not called
            if weight is not None:
                states = (
                    compute_joint_states(model, **sees, labels=labels)
                    if self.shares
                    else compute_hidden_states(model, **sees)
                )
                total, tokens = compute_response_loss(states, weight, labels, scales)
            else:
                logits = model(**sees, use_cache=False).logits[:, -labels.shape[1] :]  # behind a soft prompt's own
                total, tokens = compute_logits_loss(logits, labels, scales)
        return total / (tokens if num_items_in_batch is None else num_items_in_batch)

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            self.stop_at(f"the loss is {loss.item()}", inputs)
        self.last_inputs = inputs
        self.tokens_seen += sum(self.lengths[row] for row in inputs["row"].tolist())
        if self.penalty and self.accelerator.sync_gradients:  # once an optimiser step; accelerate does not divide it
            with self.accelerator.autocast():
                pull = self.penalty(self.accelerator.unwrap_model(model), self.state.global_step)
            self.accelerator.backward(pull)
            self.pull = pull.item()
        return loss

    def _clip_grad_norm(self, model):
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(norm):
            self.stop_at(f"the gradient norm is {float(norm)}", self.last_inputs)
        return norm

    def stop_at(self, fault: str, inputs: dict) -> None:
        """Stop the run, naming the rows of the batch."""
        names = [self.row_ids[row] for row in inputs["row"].tolist()]
        raise Stop(
            f"{fault} at step {self.state.global_step + 1} on rows {', '.join(names)}; the last good checkpoint "
            "is kept. Lower learning_rate or max_grad_norm, or look at those rows."
        )

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        self.model.eval()
        total, tokens, before = 0.0, 0, take_random_state()
        for batch in self.get_eval_dataloader(eval_dataset):
            self.stop_validation_if_asked(before)
            inputs = self._prepare_inputs(batch)
            labelled = int((inputs["labels"][:, 1:] != IGNORE).sum())
            with torch.no_grad(), self.compute_loss_context_manager():
                total += self.compute_loss(self.model, inputs).item() * labelled
            tokens += labelled
        metrics = {f"{metric_key_prefix}_loss": total / tokens}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self.is_over(self.state):
            self.control.should_training_stop = True
        self.model.train()
        return metrics

    def is_over(self, state: TrainerState) -> bool:
        """Whether a run in this state has nothing more to do: all steps are made, or patience has run out.

        To be asked before going on from a checkpoint, for the loop of transformers makes a step before it looks.
        """
        patience = self.extras.patience
        return state.global_step >= state.max_steps or (
            patience is not None and count_stale_validations(state.log_history) >= patience
        )

    def _get_train_sampler(self, train_dataset=None):
        return LengthGroupedSampler(self.lengths, self.args.train_batch_size, self.args.seed)

    def _get_output_dir(self, trial):
        return str(self.saving_to or self.args.output_dir)

    def _save_checkpoint(self, model, trial):
        root, step = Path(self.args.output_dir), self.state.global_step
        best = find_best_step(self.state.log_history) or step
        try:
            with stop_at_full_disk(step), write_checkpoint(root, step, needs={best} - {step}) as folder:
                self.saving_to = folder / "whole"
                Trainer._save_checkpoint(self, model, trial)  # SFTTrainer's would add a model card
                save_encoder(self.model, folder)
                for file in (self.saving_to / f"checkpoint-{step}").iterdir():
                    file.rename(folder / file.name)
                (self.saving_to / f"checkpoint-{step}").rmdir()
                self.saving_to.rmdir()
                if self.validation_cut:
                    (folder / VALIDATION_DUE).touch()
        finally:
            self.saving_to = None
        self.saved_step = step
        prune_checkpoints(root, keep={best, *self._list_last_steps(root)})

    def _list_last_steps(self, root: Path) -> list[int]:
        """The steps of the last checkpoints that are kept. One of an earlier stop on request takes nobody's place."""
        step, limit = self.state.global_step, self.args.save_total_limit
        regular = [other for other in list_checkpoints(root) if other == step or other % self.args.save_steps == 0]
        return regular[1 - limit :] if limit else [step]

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_encoder(self.model, Path(resume_from_checkpoint))
