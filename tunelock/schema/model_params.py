"""Model: the base, and how a record becomes its tokens."""

from typing import Annotated, Literal

from pydantic import Field

from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Limit, Revision, StrictFields, Text


class ModelParams(StrictFields):
    """The keys below the banner `model`."""

    model_name_or_path: Text
    model_revision: Revision
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    chat_template: Annotated[str, Field(pattern=r"^templates/[a-z0-9.-]+\.jinja$")] | None
    extra_special_tokens: list[Text]
    system_prompt: str | None
    max_length: Annotated[int, Field(ge=32)]
    max_turns: Limit
    long_rows: Literal["set_aside", "cut_context"]
    thinking: Literal["none", "keep", "empty"]


@rule("model_revision: a wheel is pinned by its sha256 (64 hex digits); put it here.")
def _wheel_has_no_sha256(values: Values) -> bool:
    return values["model_name_or_path"].startswith("wheel:") and len(values["model_revision"]) != 64
