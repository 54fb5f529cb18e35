"""Long texts in pieces: whole paragraphs, if need be lines, sentences, words, and last slices of the rest."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

# Signs that end a sentence, with no blank behind them or with one: of Chinese and Japanese, Devanagari and its
# sisters, Arabic and Urdu, Ethiopic, Armenian, Khmer, Burmese, Tibetan. Thai and Lao divide sentences by blanks.
_ENDS = "。！？｡।॥؟۔።։៕។။༎།"
_PARTS = "!?;:,，、；：،؛၊་"  # and signs that divide what is left of a text without blanks
_CLOSING = "”’」』）》】\"')"  # stays with the sentence that it closes


class _Cut(NamedTuple):
    """A pattern to cut at, and what joins the parts again."""

    boundary: str
    mark: str


CUTS = (
    _Cut("\n\n", "\n\n"),
    _Cut("\n", "\n"),
    _Cut(f"(?<=[{_ENDS}])(?![{_ENDS}{_CLOSING}])|(?<=[{_ENDS}][{_CLOSING}])", ""),
    _Cut("(?<=[.!?]) ", " "),
    _Cut(" ", " "),
    _Cut(f"(?<=[{_PARTS}])", ""),
)


def cut_text(text: str, size: int, cuts: tuple[_Cut, ...] = CUTS) -> list[str]:
    """A text in pieces of at most `size` characters; one that has the size stays as it is."""
    if len(text) <= size:
        return [text]
    if not cuts:
        return list(_slice_text(text, size))
    boundary, mark = cuts[0]
    pieces = [""]
    for part in filter(str.strip, re.split(boundary, text)):
        longer = pieces[-1] + mark + part if pieces[-1] else part
        if len(longer) <= size or not pieces[-1]:
            pieces[-1] = longer
        else:
            pieces.append(part if mark else part.lstrip())
    return list(chain.from_iterable(cut_text(piece, size, cuts[1:]) for piece in pieces))


def _slice_text(text: str, size: int) -> Iterator[str]:
    """Yield slices of `size` characters; an accent or a vowel sign stays with its letter."""
    start = 0
    while start < len(text):
        end = start + size
        while start + 1 < end < len(text) and _belongs_to_letter(text[end]):
            end -= 1
        yield text[start:end]
        start = end


def _belongs_to_letter(character: str) -> bool:
    """Whether it is written on the letter before it, or joins that with the next (UAX 29, Extend and ZWJ)."""
    return unicodedata.category(character).startswith("M") or character == "\u200d"
