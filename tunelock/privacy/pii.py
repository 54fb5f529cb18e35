"""Personal data and secrets in a text: where they stand, and the text with them masked.

Precision goes before recall. A pattern proposes, a library that knows the format decides, and what belongs to
nobody is no finding: example domains (RFC 2606), addresses that are private, loopback, unspecified or kept for
documentation, and placeholders such as `ghp_xxxx`.
"""

from collections.abc import Collection
from typing import NamedTuple

from tunelock.privacy.addresses import addresses
from tunelock.privacy.contacts import cards, emails, ibans, phones
from tunelock.privacy.credentials import secrets

KINDS = ("email", "phone", "card", "iban", "ip", "secret")
MASKS = tuple(f"[{kind.upper()}]" for kind in KINDS)
ROUNDS = 8  # more than a search in the masked text has ever needed; bounds the time on a hostile text
FINDERS = {"email": emails, "phone": phones, "card": cards, "iban": ibans, "ip": addresses, "secret": secrets}


class Finding(NamedTuple):
    """What was found, by its character offsets; the value itself is never kept."""

    kind: str
    start: int
    end: int


def find(text: str, kinds: Collection[str]) -> list[Finding]:
    """The findings of these kinds, sorted; of two that overlap the longer stays, of equally long ones the earlier.

    A mask changes what stands beside it, so the masked text is searched again until it holds nothing.
    """
    found = scan(text, kinds)
    for _ in range(ROUNDS if found else 0):
        more = scan(mask(text, found), kinds)
        if not more:
            break
        found = longest([*found, *(Finding(k, unmasked(start, found), unmasked(end, found)) for k, start, end in more)])
    return found


def scan(text: str, kinds: Collection[str]) -> list[Finding]:
    """One search; what touches a mask is the rest of something masked before, and no finding."""
    found = (Finding(kind, *span) for kind in KINDS if kind in kinds for span in FINDERS[kind](text))
    return longest(
        [
            f
            for f in found
            if not text.startswith(MASKS, f.end) and not text.endswith(MASKS, max(f.start - 8, 0), f.start)
        ]
    )


def longest(findings: list[Finding]) -> list[Finding]:
    """The findings sorted, without those that overlap a longer or an equally long earlier one."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: f[1:]):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
        elif finding.end - finding.start > kept[-1].end - kept[-1].start:
            kept[-1] = finding
    return kept


def unmasked(position: int, findings: list[Finding]) -> int:
    """Where a position of the masked text lies in the text."""
    for kind, start, end in findings:
        if position <= start:
            break
        position += end - start - len(kind) - 2
    return position


def mask(text: str, findings: list[Finding]) -> str:
    """The text with each finding replaced by its kind: `[EMAIL]`, `[PHONE]`, ..."""
    parts, last = [], 0
    for kind, start, end in findings:
        parts += [text[last:start], f"[{kind.upper()}]"]
        last = end
    return "".join([*parts, text[last:]])
