"""The settings of a training run: TRL's SFTConfig out of the params that pilot and train share."""

from pathlib import Path

from trl import SFTConfig

from tunelock.model.modeling import find_device
from tunelock.run.errors import Stop

# What pilot and train hand to `build_sft_config` alike, so that the pilot tries what train will do.
OPTIMISATION_PARAMS = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "optim", "learning_rate",
    "lr_scheduler_type", "min_lr_rate", "warmup_steps", "weight_decay", "max_grad_norm", "max_length", "seed",
)  # fmt: skip


def build_sft_config(
    output_dir: Path, dtype: str, per_device_train_batch_size: int, gradient_checkpointing: bool, **options
) -> SFTConfig:
    """TRL's settings with what is the same in every run of ours; `options` are more of TRL's.

    `min_lr_rate` is where `cosine_with_min_lr` ends; the other schedules have no use for it.

    Raises:
        Stop: the optimiser needs CUDA and there is none.
    """
    min_lr_rate, optim = options.pop("min_lr_rate", None), options.get("optim", "adamw_torch")
    if optim != "adamw_torch" and find_device() != "cuda":
        raise Stop(f"optim: {optim} keeps its states in 8 bits or in paged memory of a CUDA GPU; set adamw_torch.")
    if options.get("lr_scheduler_type") == "cosine_with_min_lr":
        options["lr_scheduler_kwargs"] = {"min_lr_rate": min_lr_rate}
    return SFTConfig(
        output_dir=str(output_dir),
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        per_device_train_batch_size=per_device_train_batch_size,
        per_device_eval_batch_size=per_device_train_batch_size,
        activation_checkpointing=gradient_checkpointing,  # transformers' new name of it
        logging_steps=1,  # a longer interval would forget its part of the sum at a resume
        use_cpu=find_device() == "cpu",
        dataloader_pin_memory=False,
        remove_unused_columns=False,  # our collator's columns are ours
        dataset_kwargs={"skip_prepare_dataset": True},  # TRL would drop and truncate rows without a word
        router_aux_loss_coef=0.0,  # our loss has no such part; TRL would have mixtures of experts count it in answers
        report_to="none",  # trackers: `tunelock.watching.trackers`
        **options,
    )
