"""Claims: what a reviewer reads, and what stops a pull request."""

from typing import Annotated

from pydantic import Field

from tunelock.schema.field_types import StrictFields

METRIC = r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$"  # its file may stand before it: claims.p
NUMBER = r"-?\d+(\.\d+)?([eE]-?\d+)?"
THRESHOLD = rf"^(<=|>=|<|>|==) ?(main( ?\* ?{NUMBER})?|{NUMBER})$"


class ClaimsParams(StrictFields):
    """The keys below the banner `claims`."""

    confidence_level: Annotated[float, Field(gt=0.5, lt=1)]
    bootstrap_samples: Annotated[int, Field(ge=200)]
    gate: dict[Annotated[str, Field(pattern=METRIC)], Annotated[str, Field(pattern=THRESHOLD)]]
