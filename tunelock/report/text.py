"""Text from anywhere (answers, names of tasks, files) made fit to be looked at."""

import re

# Control characters but tab and line feed; marks that turn the direction of writing; halves of a surrogate pair.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def reveal_unseen(text: str) -> str:
    """The text with each character that cannot be seen, or that moves the others, as a sign that can.

    Control characters have pictures in Unicode (U+2400 and on); the others become ⟨U+202E⟩.
    """
    return UNSEEN.sub(lambda match: _picture_of(ord(match[0])), text)


def _picture_of(code: int) -> str:
    """What stands for an unseen character."""
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def clip_text(text: str, most: int) -> str:
    """The first `most` characters, with … where there are more."""
    return text if len(text) <= most else f"{text[:most]}…"
