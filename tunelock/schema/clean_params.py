"""Clean: what is fit to train on."""

from typing import Annotated, Literal

from pydantic import Field

from tunelock.cleaning.alignment import ANSWER_RULES
from tunelock.run.rules import Values, rule
from tunelock.schema.field_types import Count, Jaccard, Limit, Share, StrictFields


class CleanParams(StrictFields):
    """The keys below the banner `clean`."""

    languages: Annotated[list[Annotated[str, Field(pattern=r"^[a-z]{2}$")]], Field(min_length=1)] | None
    repair_text: bool
    min_response_chars: Count
    max_response_chars: Count
    alignment_rules: list[Literal[tuple(ANSWER_RULES)]]  # type: ignore[valid-type]  # known when this is imported
    max_record_tokens: Limit
    pii: dict[
        Literal["email", "phone", "card", "iban", "ip", "national", "secret"], Literal["mask", "drop", "flag", "off"]
    ]
    near_duplicate_threshold: Jaccard | None
    conflicting_answers: Literal["set_aside", "keep"]
    max_dropped_share: Share


@rule("min_response_chars: is above max_response_chars, so no row could pass; lower it.")
def _no_answer_can_be_long_enough(values: Values) -> bool:
    return values["min_response_chars"] > values["max_response_chars"]
