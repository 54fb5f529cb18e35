"""Pilot: go or no-go on the golden set."""

from typing import Annotated

from pydantic import Field

from tunelock.schema.field_types import Count, Share, StrictFields


class PilotParams(StrictFields):
    """The keys below the banner `pilot`."""

    pilot_steps: Annotated[int, Field(ge=4)]
    pilot_max_too_long: Share
    pilot_samples: Count
