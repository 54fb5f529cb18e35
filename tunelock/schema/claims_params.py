"""Claims: what a reviewer reads, and what stops a pull request."""

from typing import Annotated

from pydantic import Field

from tunelock.schema.field_types import StrictFields

_METRIC = r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$"  # its file may stand before it: claims.p
_NUMBER = r"-?\d+(\.\d+)?([eE]-?\d+)?"
_THRESHOLD = rf"^(<=|>=|<|>|==) ?((main|base)( ?\* ?{_NUMBER})?|{_NUMBER})$"


class ClaimsParams(StrictFields):
    """The keys below the banner `claims`."""

    confidence_level: Annotated[float, Field(gt=0.5, lt=1)]
    bootstrap_samples: Annotated[int, Field(ge=200)]
    gate: dict[Annotated[str, Field(pattern=_METRIC)], Annotated[str, Field(pattern=_THRESHOLD)]]
