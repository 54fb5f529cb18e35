"""One record mended, its personal data hidden, and judged by the rules."""

from collections import Counter
from typing import NamedTuple

from tunelock.cleaning.personal_data import PiiPlace, hide_pii
from tunelock.cleaning.record_rules import Fate, RuleParams, decide_fate
from tunelock.cleaning.repair import repair_text
from tunelock.records.record import Message, Record, change_texts

WITHHELD = "[WITHHELD]"


class Judgement(NamedTuple):
    """The record as it goes on, `status` (kept, dropped, set_aside) and `reason`, and what was done to it.

    `before` holds the messages before the repairs, if there were any.
    """

    record: Record
    status: str = "kept"
    reason: str = ""
    repairs: tuple[str, ...] = ()
    found: tuple[PiiPlace, ...] = ()
    before: list[Message] | None = None


class _Mended(NamedTuple):
    messages: list[Message]
    repairs: tuple[str, ...] = ()


def judge_record(record: Record, params: RuleParams) -> Judgement:
    """Mend a record and say whether it is fit; the first rule that it breaks is the reason."""
    earlier = tuple(record.get("repairs", ()))  # those of the reader
    original = record["messages"]
    mended = _mend_messages(original) if params.repair_text else _Mended(original)
    hidden = hide_pii(mended.messages, params.pii)
    record = record.copy()
    record.pop("repairs", None)
    if hidden.forbidden:
        fate = Fate("dropped", f"pii_{hidden.forbidden}")
    else:
        fate = decide_fate({**record, "messages": mended.messages}, params)
    repairs = (*earlier, *mended.repairs)
    before = _hide_before_repairs(original, hidden.found, params.pii) if repairs else None
    record["messages"] = hidden.messages
    if hidden.flags:
        record["flags"] = list(hidden.flags)
    return Judgement(record, fate.status, fate.reason, repairs, hidden.found, before)


def _mend_messages(messages: list[Message]) -> _Mended:
    """The messages with mended texts, and the names of the repairs in the order in which they were first made."""
    names: list[str] = []

    def mend_text(text: str) -> str:
        repaired = repair_text(text)
        names.extend(repaired.repairs)
        return repaired.text

    mended = [change_texts(message, mend_text) for message in messages]
    return _Mended(mended, tuple(dict.fromkeys(names)))


def _hide_before_repairs(
    messages: list[Message], found: tuple[PiiPlace, ...], actions: dict[str, str]
) -> list[Message]:
    """The messages before the repairs, masked; WITHHELD where only a repair made it visible what is to be masked."""
    hidden = hide_pii(messages, actions)
    laid_open = Counter((place.kind, place.message) for place in found)
    laid_open -= Counter((place.kind, place.message) for place in hidden.found)
    withheld = {number for kind, number in laid_open if actions[kind] != "flag"}
    return [
        change_texts(message, lambda _: WITHHELD) if number in withheld else message
        for number, message in enumerate(hidden.messages)
    ]
