"""HTML in answers: a model learns to write tags as it learns to write words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tunelock.records.record import Record, reference_of

_TAG = re.compile(
    r"</?(?:p|br|div|span|a|ul|ol|li|b|i|u|strong|em|h[1-6]|table|tbody|tr|td|th|img|font|blockquote)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_MANY = 0.05  # share of the answers; in fewer, HTML may be what is spoken of


@dataclass(slots=True)
class MarkupTally:
    """How many answers hold HTML, and the first tag."""

    answers: int = 0
    tagged: int = 0
    first: str = ""

    def note_record(self, record: Record) -> None:
        answer = reference_of(record)
        found = _TAG.search(answer) if "<" in answer else None
        self.answers += 1
        self.tagged += found is not None
        self.first = self.first or (found[0] if found else "")

    def describe(self) -> str | None:
        """What to say of it; None if few answers hold HTML."""
        if self.tagged <= _MANY * self.answers:
            return None
        return (
            f"{self.tagged:,} of {self.answers:,} answers hold HTML such as {self.first}, which the model learns to "
            "write: take the tags out of the file, unless it is to write HTML"
        )


def describe_markup(records: Iterable[Record]) -> str | None:
    """What to say of the answers of these records; None if few hold HTML."""
    tally = MarkupTally()
    for record in records:
        tally.note_record(record)
    return tally.describe()
