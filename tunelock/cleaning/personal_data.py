"""Personal data and secrets in the messages of a record: each kind is masked, flagged, or takes the record out."""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from tunelock.privacy.pii import find_pii, mask_pii
from tunelock.records.record import LeftOutRow, Message, change_texts


class PiiPlace(NamedTuple):
    """Where something was found: the number of the message and the characters in it; the value is never kept.

    Of a call of a tool they are those of the one argument that it stands in.
    """

    kind: str
    message: int
    start: int
    end: int


class _HiddenPii(NamedTuple):
    """The messages with their findings masked, those to drop too, so that no secret gets among the rejects.

    `flags` are the kinds that may stay, `forbidden` is the kind because of which the record must be dropped.
    """

    messages: list[Message]
    found: tuple[PiiPlace, ...] = ()
    flags: tuple[str, ...] = ()
    forbidden: str | None = None


@dataclass(slots=True)
class _Mask:
    """Masks one text after the other and notes what it found."""

    actions: dict[str, str]
    found: list[PiiPlace] = field(default_factory=list)

    def mask_text(self, number: int, text: str) -> str:
        """A text of the message `number` without what must not stay."""
        findings = find_pii(text, [kind for kind, action in self.actions.items() if action != "off"])
        self.found += [PiiPlace(finding.kind, number, finding.start, finding.end) for finding in findings]
        return mask_pii(text, [one for one in findings if self.actions[one.kind] != "flag"])


def hide_pii(messages: list[Message], actions: dict[str, str]) -> _HiddenPii:
    """Apply the action of each kind: mask, drop, flag or off."""
    if all(action == "off" for action in actions.values()):
        return _HiddenPii(messages)
    mask = _Mask(actions)
    hidden = [change_texts(message, partial(mask.mask_text, number)) for number, message in enumerate(messages)]
    if not mask.found:
        return _HiddenPii(messages)
    flags = {place.kind for place in mask.found if actions[place.kind] == "flag"}
    forbidden = next((place.kind for place in mask.found if actions[place.kind] == "drop"), None)
    return _HiddenPii(hidden, tuple(mask.found), tuple(sorted(flags)), forbidden)


class HiddenRow(NamedTuple):
    """A row that became no record, its text without personal data."""

    row: LeftOutRow
    found: tuple[PiiPlace, ...]


def hide_pii_of_row(row: LeftOutRow, actions: dict[str, str]) -> HiddenRow:
    """Such a row stays out; what is kept of its text has no personal data."""
    hidden = hide_pii([Message(role="text", content=row["raw"])], actions)
    return HiddenRow({**row, "raw": hidden.messages[0]["content"]}, hidden.found)
