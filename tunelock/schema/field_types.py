"""The types that several fields of params.yaml share."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Limit = Count | None
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Jaccard = Annotated[float, Field(ge=0.3, le=1)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


def _check_regex(pattern: str) -> str:
    """A regular expression, or a `ValueError` that says why it is none."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from None
    return pattern


Regex = Annotated[Text, AfterValidator(_check_regex)]


class StrictFields(BaseModel):
    """Fields without a default: no value is coerced, no other key is allowed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
