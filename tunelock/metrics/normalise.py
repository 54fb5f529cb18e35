"""What two texts have in common where wording is free: a normal form, a label, a format."""

import json
import re
import string
import unicodedata
from functools import cache

from tunelock.records.ngrams import UNSPACED, split_words

ARTICLES = re.compile(r"\b(a|an|the)\b")
IGNORES_CASE = re.compile(r"(?<!\\)(?:\\\\)*\(\?[aLmsux]*i")  # (?i), (?im), (?i:yes|no)
ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
BEYOND_ASCII = range(0x80, 0x20000)  # all punctuation and all digits of Unicode 15 lie below
# What puts Arabic or Hebrew in order on the screen, and other characters that nobody sees. The joiners U+200C and
# U+200D stay: words of Persian and Hindi differ by them.
INVISIBLE = dict.fromkeys([0xAD, 0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])
# Scripts without spaces between words, beside those of `ngrams`: Tibetan, Tai Le and New Tai Lue, Tai Tham, Balinese,
# Yi, Javanese, Tai Viet.
ALSO_UNSPACED = "\u0f00-\u0fbc\u1950-\u19df\u1a20-\u1a99\u1b05-\u1b59\ua000-\ua48c\ua984-\ua9d9\uaa80-\uaadf"
UNSPACED_WORD = re.compile(f"[{UNSPACED}{ALSO_UNSPACED}]")


def _clean_form(text: str) -> str:
    """The text in Unicode form NFC without what nobody sees; ASCII stays."""
    return text if text.isascii() else unicodedata.normalize("NFC", text).translate(INVISIBLE)


def _unify_form(text: str) -> str:
    """The text in one form: as `_clean_form`, with digits as 0-9 and full-width forms as ASCII; ASCII stays."""
    return text if text.isascii() else _clean_form(text).translate(_list_twins())


@cache
def _list_twins() -> dict[int, int | str]:
    """For `str.translate`: the ASCII character of each full-width one, and the digit of each digit."""
    found: dict[int, int | str] = {0xFF01 + place: 0x21 + place for place in range(94)}
    for code in BEYOND_ASCII:
        digit = unicodedata.decimal(chr(code), None)
        if digit is not None:
            found[code] = str(digit)
    return found


@cache
def _list_punctuation() -> dict[int, None]:
    """For `str.translate`: ASCII's punctuation and that of all other scripts to nothing."""
    others = [code for code in BEYOND_ASCII if unicodedata.category(chr(code))[0] == "P"]
    return dict.fromkeys([*ASCII_PUNCTUATION, *others])


def normalise(text: str) -> str:
    """One form (`_unify_form`), lower case, no punctuation, no English articles, single spaces.

    Of ASCII texts this is the normal form of SQuAD (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250), save that
    a text of nothing but punctuation keeps it: `+` is not `-`. In other languages articles stay (and the English ones
    go: French `a` is a verb).
    """
    folded = _unify_form(_unify_form(text).casefold())
    bare = folded.translate(ASCII_PUNCTUATION if folded.isascii() else _list_punctuation())
    return " ".join(ARTICLES.sub(" ", bare if bare.strip() else folded).split())


def is_spaced(text: str) -> bool:
    """Whether spaces or punctuation stand between the words of a text: of what `split_words` finds, fewer than half
    are characters of a script that has no spaces there. A text without any word is."""
    words = split_words(text)
    return not words or 2 * len(list(filter(UNSPACED_WORD.match, words))) < len(words)


def find_label(text: str, pattern: str, any_case: bool = False) -> str | None:
    """The first match of `pattern` in a text that is not empty, or None; of a pattern with groups, the first of them
    that took part.

    Labels are equal as the pattern finds them: whatever their case if it ignores case, as `(?i)yes|no` does, or if
    `any_case`. Spaces are single, and what nobody sees, Unicode's forms and other digits (`\\d` finds them all) make no
    difference.
    """
    any_case = any_case or bool(IGNORES_CASE.search(pattern))
    for found in re.finditer(_clean_form(pattern), _clean_form(text), re.IGNORECASE if any_case else 0):
        parts = found.groups() or (found[0],)
        label = " ".join(_unify_form(next((part for part in parts if part is not None), "")).split())
        if label:
            return _unify_form(label.casefold()) if any_case else label
    return None


def has_format(text: str, check: str) -> bool:
    """Whether a text is JSON (check `json`), or has a match of the regular expression `check`."""
    if check != "json":
        return re.search(_clean_form(check), _clean_form(text)) is not None
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
