"""What makes one record unfit to train on, whatever other records there are."""

import functools
from collections import Counter
from typing import NamedTuple

from tunelock.cleaning.alignment import detect_language, find_broken_rule
from tunelock.cleaning.repair import has_lost_characters, repair_text
from tunelock.privacy.pii import find_pii, mask_pii
from tunelock.records.record import find_chat_fault, is_text, question_of, reference_of, replace_texts, whole_text_of

WITHHELD = "[WITHHELD]"

TELLING = 240  # characters; a language shows in these, and more would cost half of the cleaning's time


class Rules(NamedTuple):
    """The cleaning params of one record, named as in params.yaml; `tokenizer` is the path of a tokenizer.json."""

    repair_text: bool
    min_response_chars: int
    max_response_chars: int
    max_record_tokens: int | None
    languages: list[str] | None
    alignment_rules: list[str]
    pii: dict[str, str]
    tokenizer: str


class Judgement(NamedTuple):
    """The record as it goes on, `status` (kept, dropped, set_aside) and `reason`, and what was done to it.

    `found` lists personal data and secrets as (kind, message, start, end), never their text; `before` holds the
    messages before the repairs, if there were any.
    """

    record: dict
    status: str = "kept"
    reason: str = ""
    repairs: tuple[str, ...] = ()
    found: tuple[tuple[str, int, int, int], ...] = ()
    before: list[dict] | None = None


def judge_record(record: dict, rules: Rules) -> Judgement:
    """Mend a record and say whether it is fit; the first rule that it breaks is the reason."""
    earlier = tuple(record.get("repairs", ()))  # those of the reader
    record = {key: value for key, value in record.items() if key != "repairs"}
    mended, repairs = _mend_record(record) if rules.repair_text else (record, ())
    masked, found, forbidden = _hide_pii(mended, rules.pii)
    status, reason = ("dropped", f"pii_{forbidden}") if forbidden else _find_reason(mended, rules)
    before = _show_before_repairs(record, found, rules.pii) if earlier or repairs else None
    return Judgement(masked, status, reason, (*earlier, *repairs), found, before)


def judge_raw_row(row: dict, rules: Rules) -> Judgement:
    """A row that never became a record stays out; its text, too, is kept without personal data."""
    hidden, found, _ = _hide_pii({"messages": [{"content": row["raw"]}]}, rules.pii)
    return Judgement({**row, "raw": hidden["messages"][0]["content"]}, row["status"], row["reason"], (), found)


def _show_before_repairs(record: dict, found: tuple, actions: dict[str, str]) -> list[dict]:
    """The messages before the repairs, masked; WITHHELD where only a repair made it visible what is to be masked."""
    masked, seen, _ = _hide_pii(record, actions)
    laid_open = Counter((kind, number) for kind, number, *_ in found)
    laid_open -= Counter((kind, number) for kind, number, *_ in seen)
    withheld = {number for kind, number in laid_open if actions[kind] != "flag"}
    texts = (WITHHELD if n in withheld else message["content"] for n, message in enumerate(masked["messages"]))
    return replace_texts(masked["messages"], texts)


def _mend_record(record: dict) -> tuple[dict, tuple[str, ...]]:
    """The record with mended texts, and the names of the repairs."""
    mended = [repair_text(message["content"]) for message in record["messages"]]
    names = tuple(dict.fromkeys(name for _, names in mended for name in names))
    return ({**record, "messages": replace_texts(record["messages"], (text for text, _ in mended))}, names)


def _find_reason(record: dict, rules: Rules) -> tuple[str, str]:
    """Status and reason of the first broken rule; ("kept", "") if there is none."""
    fault = None if is_text(record) else find_chat_fault(record["messages"])  # mending may have emptied a turn
    if fault:
        return "set_aside", fault
    text = whole_text_of(record)
    if has_lost_characters(text):
        return "set_aside", "bad_encoding"
    reason = bad_length(record, rules) or bad_language(text, rules.languages)
    if not reason and not is_text(record):
        reason = find_broken_rule(question_of(record), reference_of(record), rules.alignment_rules)
    return ("dropped", reason) if reason else ("kept", "")


def bad_length(record: dict, rules: Rules) -> str | None:
    """The bounds are characters of the last answer and tokens of the whole record, both allowed."""
    size = len(reference_of(record).strip())
    if size < rules.min_response_chars:
        return "too_short"
    if size > rules.max_response_chars:
        return "too_long"
    if (
        rules.max_record_tokens is not None
        and _count_tokens(whole_text_of(record), rules.tokenizer) > rules.max_record_tokens
    ):
        return "too_many_tokens"
    return None


def _count_tokens(text: str, path: str) -> int:
    """How many tokens a text has, without the template's."""
    return len(_load_tokenizer(path).encode(text, add_special_tokens=False).ids)


@functools.cache
def _load_tokenizer(path: str):
    """The tokenizer of a tokenizer.json; the library under Transformers' own, which would take seconds to import."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def bad_language(text: str, languages: list[str] | None) -> str | None:
    """A language that can be told and is not wanted."""
    found = detect_language(text[:TELLING]) if languages else None
    return None if found is None or found in languages else "language"


def _hide_pii(record: dict, actions: dict[str, str]) -> tuple[dict, tuple, str | None]:
    """Apply each kind's action: mask, drop or flag.

    Returns:
        The record with its findings masked (those to drop too, so that no secret gets into the rejects) or flagged,
        all findings, and the kind because of which it must be dropped.
    """
    kinds = [kind for kind, action in actions.items() if action != "off"]
    hits = [find_pii(message["content"], kinds) for message in record["messages"]] if kinds else []
    found = tuple((hit.kind, number, hit.start, hit.end) for number, hits_ in enumerate(hits) for hit in hits_)
    if not found:
        return record, (), None
    hidden = [[hit for hit in hits_ if actions[hit.kind] != "flag"] for hits_ in hits]
    texts = (mask_pii(message["content"], hits_) for message, hits_ in zip(record["messages"], hidden))
    clean = {**record, "messages": replace_texts(record["messages"], texts)}
    flagged = sorted({kind for kind, *_ in found if actions[kind] == "flag"})
    clean |= {"flags": flagged} if flagged else {}
    return clean, found, next((kind for kind, *_ in found if actions[kind] == "drop"), None)
