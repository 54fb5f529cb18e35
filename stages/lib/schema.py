"""The schema of `params.yaml`: types, ranges and contradictions, all problems told at once."""

import difflib
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=1)]
Limit = Annotated[int, Field(ge=1)] | None
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SECRET = re.compile(r"(hf_|sk-|ghp_|glpat-|AKIA|xox[bp]-)[A-Za-z0-9_-]{12,}")


class Schema(BaseModel):
    """One field a key of `params.yaml`, where each is explained; nothing has a default."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    dataset: Annotated[str, Field(pattern=r"^wheel:[A-Za-z0-9._-]+==[^/]+/.+$")]
    dataset_revision: Sha256
    golden_table: str
    min_response_chars: Count
    max_response_chars: Count
    split_seed: Seed
    val_ratio: Ratio
    test_ratio: Ratio
    max_train_samples: Limit
    max_val_samples: Limit
    max_test_samples: Limit
    max_golden_samples: Limit
    model_name_or_path: Annotated[str, Field(min_length=1)]
    model_revision: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
    dtype: Literal["bfloat16", "float32"]
    system_prompt: str | None
    max_length: Annotated[int, Field(ge=32)]
    method: Literal["lora", "qlora"]
    lora_r: Count
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    lora_dropout: Share
    lora_target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)]
    seed: Seed
    num_threads: Count
    num_train_epochs: Positive
    per_device_train_batch_size: Count
    gradient_accumulation_steps: Count
    gradient_checkpointing: bool
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    warmup_ratio: Share
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    max_grad_norm: Positive
    eval_steps: Count
    pilot_steps: Annotated[int, Field(ge=4)]
    pilot_max_too_long: Share
    pilot_samples: Count
    eval_batch_size: Count
    max_predict_samples: Limit
    max_new_tokens: Count


def problems(values: dict) -> list[str]:
    """Everything that is wrong with these params, a sentence each; empty if they are fine."""
    try:
        values = {str(key): value for key, value in values.items()}
        Schema.model_validate(values)
        errors = []
    except ValidationError as error:
        errors = error.errors()
    wrong = {str(error["loc"][0]): error for error in errors}
    found = [sentence(key, wrong[key], values) for key in wrong]
    found += contradictions({key: value for key, value in values.items() if key not in wrong})
    return found + [
        f"{key}: looks like a secret; take it out and keep it in the environment."
        for key, value in values.items()
        if SECRET.search(str(value))
    ]


def sentence(key: str, error: dict, values: dict) -> str:
    """One pydantic error as a sentence with the value and what to do."""
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, Schema.model_fields, n=1, cutoff=0.5)
        return f"{key}: no such key; " + (f"did you mean '{close[0]}'?" if close else "remove it.")
    if error["type"] == "missing":
        return f"{key}: is missing; add it back (`git diff params.yaml` shows what was there)."
    value = values[key]
    if error["type"] == "literal_error" and isinstance(value, str):
        close = difflib.get_close_matches(value, re.findall(r"'([^']+)'", error["ctx"]["expected"]), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        shown = "the value" if SECRET.search(value) else f"'{value}'"
        return f"{key}: {shown} is none of {error['ctx']['expected']}{hint}."
    message = error["msg"].removeprefix("Input ").removeprefix("String ")
    message = message if SECRET.search(str(value)) else f"{value!r} {message}"
    if isinstance(value, str) and error["type"] in ("int_type", "float_type") and re.fullmatch(r"[-+.\deE]+", value):
        message += ", so take the quotes off"
    return f"{key}: {message}."


def contradictions(values: dict) -> list[str]:
    """What is wrong between keys that are each fine; keys that are not among `values` are passed over."""

    class Known(dict):
        def __missing__(self, key):
            raise LookupError(key)

    v = Known(values)
    rules = [
        (lambda: v["min_response_chars"] > v["max_response_chars"],
         "min_response_chars: is above max_response_chars, so no row could pass; lower it."),
        (lambda: v["val_ratio"] + v["test_ratio"] >= 1,
         "test_ratio: with val_ratio it takes every group, so train would be empty; lower one of them."),
        (lambda: v["model_name_or_path"].startswith("wheel:") and len(v["model_revision"]) != 64,
         "model_revision: a wheel is pinned by its sha256 (64 hex digits); put it here."),
        (lambda: v["max_new_tokens"] >= v["max_length"],
         "max_new_tokens: must be below max_length, or no room is left for the prompt; lower it."),
        (lambda: v["method"] == "qlora" and v["dtype"] == "float32",
         "dtype: qlora computes in bfloat16; set dtype to bfloat16."),
    ]  # fmt: skip
    found = []
    for broken, message in rules:
        try:
            found += [message] if broken() else []
        except LookupError:
            continue
    return found
