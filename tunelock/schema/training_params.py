"""Training: the loop, its optimiser and who looks on."""

from typing import Annotated, Literal

from pydantic import Field

from tunelock.schema.field_types import Count, Limit, NotNegative, Positive, Seed, Share, StrictFields


class TrainingParams(StrictFields):
    """The keys below the banner `training`."""

    seed: Seed
    num_threads: Count
    num_train_epochs: Positive
    per_device_train_batch_size: Count
    gradient_accumulation_steps: Count
    gradient_checkpointing: bool
    packing: bool
    optim: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"]
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    lr_scheduler_type: Literal["linear", "cosine", "cosine_with_min_lr", "constant", "constant_with_warmup"]
    min_lr_rate: Share
    warmup_steps: NotNegative
    weight_decay: NotNegative
    max_grad_norm: Positive
    eval_steps: Count
    early_stopping_patience: Limit
    report_to: list[Literal["dvclive", "tensorboard", "wandb", "mlflow"]]
    save_total_limit: Annotated[int, Field(ge=2)]
