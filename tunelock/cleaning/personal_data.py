"""Personal data and secrets in the messages of a record: each kind is masked, flagged, or takes the record out."""

from typing import NamedTuple

from tunelock.privacy.pii import find_pii, mask_pii
from tunelock.records.record import LeftOutRow, Message, replace_texts


class PiiPlace(NamedTuple):
    """Where something was found: the number of the message and the characters in it; the value is never kept."""

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


def hide_pii(messages: list[Message], actions: dict[str, str]) -> _HiddenPii:
    """Apply the action of each kind: mask, drop, flag or off."""
    kinds = [kind for kind, action in actions.items() if action != "off"]
    if not kinds:
        return _HiddenPii(messages)
    found, texts = [], []
    for number, message in enumerate(messages):
        findings = find_pii(message["content"], kinds)
        found += [PiiPlace(finding.kind, number, finding.start, finding.end) for finding in findings]
        texts.append(mask_pii(message["content"], [one for one in findings if actions[one.kind] != "flag"]))
    if not found:
        return _HiddenPii(messages)
    flags = {place.kind for place in found if actions[place.kind] == "flag"}
    forbidden = next((place.kind for place in found if actions[place.kind] == "drop"), None)
    return _HiddenPii(replace_texts(messages, texts), tuple(found), tuple(sorted(flags)), forbidden)


class HiddenRow(NamedTuple):
    """A row that became no record, its text without personal data."""

    row: LeftOutRow
    found: tuple[PiiPlace, ...]


def hide_pii_of_row(row: LeftOutRow, actions: dict[str, str]) -> HiddenRow:
    """Such a row stays out; what is kept of its text has no personal data."""
    hidden = hide_pii([Message(role="text", content=row["raw"])], actions)
    return HiddenRow({**row, "raw": hidden.messages[0]["content"]}, hidden.found)
