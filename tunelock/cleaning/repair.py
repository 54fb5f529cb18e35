"""Mending text that went through the wrong encoding, and nothing that a person may have meant.

The mojibake heuristics are those of ftfy (Speer 2019, https://zenodo.org/records/2591652); its typographic changes
(quotes, ligatures, widths, HTML entities) are not made.
"""

import re
import unicodedata
from typing import NamedTuple

import ftfy

CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufff9-\ufffb]")  # all but tab and newlines
BROKEN = re.compile("[\ufffd\ud800-\udfff]")  # what was lost cannot be mended


class _Repaired(NamedTuple):
    """A mended text and the names of the repairs that were made, the first of them first."""

    text: str
    repairs: tuple[str, ...]


def repair_text(text: str) -> _Repaired:
    """Make the repairs that the text needs.

    One repair may lay open another (a control character between a letter and its accent), so they are repeated until
    nothing changes.
    """
    made: list[str] = []
    while (mended := _repair_once(text, made)) != text:
        text = mended
    return _Repaired(text, tuple(dict.fromkeys(made)))


def _repair_once(text: str, made: list[str]) -> str:
    """Each repair once; the names of those that changed anything are added to `made`."""
    if not text.isascii():
        text = _note_repair(made, "mojibake", text, ftfy.fix_encoding(text))
        text = _note_repair(made, "unicode_form", text, unicodedata.normalize("NFC", text))
    if CONTROLS.search(text):
        text = _note_repair(made, "control_characters", text, CONTROLS.sub("", text))
    if "\r" in text:
        text = _note_repair(made, "line_ends", text, text.replace("\r\n", "\n").replace("\r", "\n"))
    return text


def _note_repair(made: list[str], name: str, before: str, after: str) -> str:
    """The text after a repair, whose name is noted if it changed anything."""
    if after != before:
        made.append(name)
    return after


def has_lost_characters(text: str) -> bool:
    """Does it hold characters that stand for lost ones: U+FFFD or lone surrogates?"""
    return not text.isascii() and BROKEN.search(text) is not None
