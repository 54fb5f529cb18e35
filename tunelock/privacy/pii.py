"""Personal data and secrets in a text: where they stand, and the text with them masked.

Precision goes before recall. A pattern proposes, a library that knows the format decides, and what belongs to
nobody is no finding: example domains (RFC 2606), addresses that are private, loopback, unspecified or kept for
documentation, and placeholders such as `ghp_xxxx`.
"""

from collections.abc import Collection
from typing import NamedTuple

from tunelock.privacy.addresses import find_addresses
from tunelock.privacy.contacts import LONGEST_MASK, find_cards, find_emails, find_ibans, find_phones
from tunelock.privacy.credentials import find_secrets
from tunelock.privacy.national_numbers import find_national_numbers

KINDS = ("email", "phone", "card", "iban", "ip", "secret", "national")
MASKS = tuple(f"[{kind.upper()}]" for kind in KINDS)
ROUNDS = 8  # more than a search in the masked text has ever needed; bounds the time on a hostile text
FINDERS = {
    "email": find_emails,
    "phone": find_phones,
    "card": find_cards,
    "iban": find_ibans,
    "ip": find_addresses,
    "secret": find_secrets,
    "national": find_national_numbers,
}


class _Finding(NamedTuple):
    """What was found, by its character offsets; the value itself is never kept."""

    kind: str
    start: int
    end: int


def find_pii(text: str, kinds: Collection[str]) -> list[_Finding]:
    """The findings of these kinds, sorted; of two that overlap the longer stays, of equally long ones the earlier.

    A mask changes what stands beside it, so the masked text is searched again until it holds nothing.
    """
    found = _scan_text(text, kinds)
    for _ in range(ROUNDS if found else 0):
        more = _scan_text(mask_pii(text, found), kinds)
        if not more:
            break
        unmasked = [_unmask_finding(finding, found) for finding in more]
        found = _keep_longest(found + unmasked)
    return found


def _scan_text(text: str, kinds: Collection[str]) -> list[_Finding]:
    """One search; what touches a mask is the rest of something masked before, and no finding."""
    found = []
    for kind in KINDS:
        for start, end in FINDERS[kind](text) if kind in kinds else ():
            if not text.startswith(MASKS, end) and not text.endswith(MASKS, max(start - LONGEST_MASK, 0), start):
                found.append(_Finding(kind, start, end))
    return _keep_longest(found)


def _keep_longest(findings: list[_Finding]) -> list[_Finding]:
    """The findings sorted, without those that overlap a longer or an equally long earlier one."""
    kept: list[_Finding] = []
    for finding in sorted(findings, key=lambda f: f[1:]):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
        elif finding.end - finding.start > kept[-1].end - kept[-1].start:
            kept[-1] = finding
    return kept


def _unmask_finding(finding: _Finding, masked: list[_Finding]) -> _Finding:
    """A finding in the masked text, as it lies in the text."""
    start, end = _unmask_position(finding.start, masked), _unmask_position(finding.end, masked)
    return _Finding(finding.kind, start, end)


def _unmask_position(position: int, findings: list[_Finding]) -> int:
    """Where a position of the masked text lies in the text."""
    for kind, start, end in findings:
        if position <= start:
            break
        position += end - start - len(kind) - 2
    return position


def mask_pii(text: str, findings: list[_Finding]) -> str:
    """The text with each finding replaced by its kind: `[EMAIL]`, `[PHONE]`, ..."""
    parts, last = [], 0
    for kind, start, end in findings:
        parts += [text[last:start], f"[{kind.upper()}]"]
        last = end
    return "".join([*parts, text[last:]])
