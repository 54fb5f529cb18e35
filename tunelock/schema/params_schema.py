"""The schema of `params.yaml`: types and ranges; with `tunelock.schema.contradictions`, all problems told at once."""

import difflib
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tunelock.schema.contradictions import contradictions
from tunelock.schema.source_schema import Count, SourceSchema, Text, Weight

Limit = Annotated[int, Field(ge=1)] | None
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
MAPPINGS = (
    "pii",
    "task_weights",
    "task_loss_weights",
    "golden_where",
    "label_patterns",
    "choice_patterns",
    "format_checks",
    "gate",
    "general_source",
)
Metric = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$")]  # its file may stand before it: claims.p
NUMBER = r"-?\d+(\.\d+)?([eE]-?\d+)?"
Threshold = Annotated[str, Field(pattern=rf"^(<=|>=|<|>|==) ?(main( ?\* ?{NUMBER})?|{NUMBER})$")]
SECRET = re.compile(r"(hf_|sk-|ghp_|glpat-|AKIA|xox[bp]-)[A-Za-z0-9_-]{12,}")


def compiles(pattern: str) -> str:
    """A regular expression, or a `ValueError` that says why it is none."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from None
    return pattern


Regex = Annotated[Text, AfterValidator(compiles)]


class Unfreezing(BaseModel):
    """One step of `unfreeze_schedule`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    at: Share
    layers: Count
    learning_rate: Annotated[float, Field(gt=0, lt=1)]


class Schema(BaseModel):
    """One field a key of `params.yaml`, where each is explained; nothing has a default."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sources: Annotated[dict[Name, SourceSchema], Field(min_length=1)]
    max_set_aside_share: Share
    repair_text: bool
    min_response_chars: Count
    max_response_chars: Count
    max_record_tokens: Limit
    languages: Annotated[list[Annotated[str, Field(pattern=r"^[a-z]{2}$")]], Field(min_length=1)] | None
    alignment_rules: list[Literal["echo", "refusal", "too_short_for_question", "wrong_script"]]
    pii: dict[Literal["email", "phone", "card", "iban", "ip", "secret"], Literal["mask", "drop", "flag", "off"]]
    near_duplicate_threshold: Annotated[float, Field(ge=0.3, le=1)] | None
    conflicting_answers: Literal["set_aside", "keep"]
    split_seed: Seed
    split_method: Literal["hash", "stratified"]
    val_ratio: Ratio
    test_ratio: Ratio
    golden_groups: Annotated[list[Text], Field(min_length=1)] | None
    golden_where: Annotated[dict[Literal["task", "source"], Text], Field(min_length=1)] | None
    golden_ratio: Share
    golden_sha256: Sha256 | None
    decontaminate: list[Literal["exact", "near", "ngram"]]
    leak_threshold: Annotated[float, Field(ge=0.3, le=1)]
    max_rows_per_task: Limit
    task_weights: dict[Text, Weight] | None
    replay_share: Share
    max_train_samples: Limit
    max_val_samples: Limit
    max_test_samples: Limit
    max_golden_samples: Limit
    model_name_or_path: Annotated[str, Field(min_length=1)]
    model_revision: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    chat_template: Annotated[str, Field(pattern=r"^templates/[a-z0-9.-]+\.jinja$")] | None
    extra_special_tokens: list[Text]
    system_prompt: str | None
    max_length: Annotated[int, Field(ge=32)]
    max_turns: Limit
    method: Literal["lora", "qlora", "int8", "full", "prefix", "prompt", "ptuning"]
    lora_r: Count
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    lora_dropout: Share
    lora_target_modules: Literal["all-linear", "attention", "attention-qv"] | Annotated[list[str], Field(min_length=1)]
    bias: Literal["none", "all", "lora_only"]
    use_rslora: bool
    use_dora: bool
    bnb_4bit_use_double_quant: bool
    num_virtual_tokens: Count
    freeze_embeddings: bool
    freeze_layers: Annotated[int, Field(ge=0)]
    unfreeze_schedule: Annotated[list[Unfreezing], Field(min_length=1)] | None
    regularization: Literal["none", "l2", "ewc", "kl"]
    regularization_weight: Positive
    task_loss_weights: dict[Text, Weight] | None
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
    warmup_steps: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    max_grad_norm: Positive
    eval_steps: Count
    early_stopping_patience: Limit
    save_total_limit: Annotated[int, Field(ge=2)]
    report_to: list[Literal["dvclive", "tensorboard", "wandb", "mlflow"]]
    pilot_steps: Annotated[int, Field(ge=4)]
    pilot_max_too_long: Share
    pilot_samples: Count
    eval_batch_size: Count
    max_predict_samples: Limit
    max_new_tokens: Count
    label_patterns: dict[Text, Regex] | None
    choice_patterns: dict[Text, Regex] | None
    format_checks: dict[Text, Regex] | None
    general_source: SourceSchema
    generation_backend: Literal["transformers", "vllm"]
    confidence_level: Annotated[float, Field(gt=0.5, lt=1)]
    bootstrap_samples: Annotated[int, Field(ge=200)]
    gate: dict[Metric, Threshold]


def problems(values: dict) -> list[str]:
    """Everything that is wrong with these params, a sentence each; empty if they are fine."""
    try:
        values = {str(key): value for key, value in values.items()}
        Schema.model_validate(values)
        errors = []
    except ValidationError as error:
        errors = error.errors()
    wrong = {where(error["loc"]): error for error in errors}
    found = [sentence(key, wrong[key], values) for key in wrong]
    broken = {key.split(".")[0] for key in wrong}
    found += contradictions({key: value for key, value in values.items() if key not in broken})
    return found + [
        f"{key}: looks like a secret; take it out and keep it in the environment."
        for key, value in values.items()
        if SECRET.search(str(value))
    ]


def where(loc: tuple) -> str:
    """The key of an error as one writes it after `-S`: `lora_r`, `pii.email`, `sources.cwe.path`."""
    depth = {"sources": 3, "unfreeze_schedule": 3} | dict.fromkeys(MAPPINGS, 2)
    deep = depth.get(str(loc[0]), 1)
    return ".".join(str(part) for part in loc[:deep] if part != "[key]")


def sentence(key: str, error: dict, values: dict) -> str:
    """One pydantic error as a sentence with the value and what to do."""
    if error["type"] == "extra_forbidden":
        fields = (SourceSchema if key.startswith(("sources.", "general_source.")) else Schema).model_fields
        close = difflib.get_close_matches(key.rpartition(".")[2], fields, n=1, cutoff=0.5)
        return f"{key}: no such key; " + (f"did you mean '{close[0]}'?" if close else "remove it.")
    if error["type"] == "missing":
        return f"{key}: is missing; add it back (`git diff params.yaml` shows what was there)."
    value = error["input"]
    if error["type"] == "literal_error" and isinstance(value, str):
        close = difflib.get_close_matches(value, re.findall(r"'([^']+)'", error["ctx"]["expected"]), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        shown = "the value" if SECRET.search(value) else f"'{value}'"
        return f"{key}: {shown} is none of {error['ctx']['expected']}{hint}."
    message = error["msg"].removeprefix("Input ").removeprefix("String ").removeprefix("Value error, ")
    message = message if SECRET.search(str(value)) else f"{value!r} {message}"
    if isinstance(value, str) and error["type"] in ("int_type", "float_type") and re.fullmatch(r"[-+.\deE]+", value):
        message += ", so take the quotes off"
    return f"{key}: {message}."
