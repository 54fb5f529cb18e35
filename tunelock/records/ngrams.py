"""Words, shingles and stable hashes of word n-grams.

A text is a list of words: NFKC form, case folded, runs of letters, digits and marks. Scripts that are written
without spaces (Chinese, Japanese, Thai, Lao, Burmese, Khmer) count one word a character, as BERT's tokeniser does for
Chinese (Devlin et al. 2018, https://arxiv.org/abs/1810.04805).

n-grams of 13 words are what decontamination compares: appendix C of the GPT-3 paper (Brown et al. 2020,
https://arxiv.org/abs/2005.14165), lm-evaluation-harness (`lm_eval/decontamination`, 13-grams as in the paper) and
datatrove (`pipeline/decontamination/n_grams.py`, 12 by default).

The hash of a word is XXH3; that of an n-gram is the rolling polynomial of Karp and Rabin (1987) over its words modulo
2**64, mixed by the finaliser of SplitMix64 (Steele et al. 2014). Neither depends on process, machine or PYTHONHASHSEED.
"""

import re
import unicodedata
from functools import cache, lru_cache
from itertools import islice

import numpy as np
from xxhash import xxh3_64_intdigest

UNSPACED = (  # without the punctuation inside these blocks
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17e9"
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U000323af"
)
OTHER_SCRIPT = re.compile("[\u0300-\u1dff\u20d0-\u20f0\u2c80-\U0010ffff]")  # beyond Latin and typographic signs
# Neither Markdown's bullets and bold type nor hyphens and dashes; a minus before a number is none of these.
# Each begins with its character, so that the search passes quickly over all others.
SYMBOL = r"|[+=<>%^&|/]|#(?<=\w#)|\*(?:(?<=\w\*)(?=\w)|(?<= \*)(?= ))|-(?<!\w-)(?=\d)"
REMEMBERED = 2**17  # words whose hashes are kept
BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64


def _fold_case(text: str) -> str:
    """NFKC form, case folded: what two spellings of one text have in common."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def split_words(text: str) -> list[str]:
    """The words of a text in their order."""
    folded = _fold_case(text)
    return _choose_pattern(folded, "").findall(folded)


def has_words(text: str, least: int) -> bool:
    """Whether a text has at least so many words; a long one is read no further."""
    folded = _fold_case(text)
    return sum(1 for _ in islice(_choose_pattern(folded, "").finditer(folded), least)) == least


def split_tokens(text: str) -> list[str]:
    """The words of a text and the symbols that carry meaning: C++ is not C, nor 6 / 2 the same as 6 * 2 or 6 - 2."""
    folded = _fold_case(text)
    return _choose_pattern(folded, SYMBOL).findall(folded)


def _choose_pattern(folded: str, symbol: str) -> re.Pattern[str]:
    """The fastest pattern that finds the words of this text, and the symbols."""
    if folded.isascii():
        return _compile_pattern(f"[a-z0-9]+{symbol}")
    return _compile_pattern((_match_any_word() if OTHER_SCRIPT.search(folded) else r"[^\W_]+") + symbol)


_compile_pattern = cache(re.compile)


@cache
def _match_any_word() -> str:
    """A word of any script. `\\w` alone would break Hindi at its vowel signs, which are marks and not letters."""
    spaced = rf"[^\W_{UNSPACED}]"
    return rf"[{UNSPACED}]|{spaced}(?:{spaced}|[{_list_marks()}])*"


@cache
def _list_marks() -> str:
    """The combining marks outside the unspaced scripts, as the inside of a character class."""
    unspaced = re.compile(f"[{UNSPACED}]")
    found = (chr(i) for i in range(0x300, 0x1E944) if unicodedata.category(chr(i))[0] == "M")
    return "".join(mark for mark in found if not unspaced.match(mark))


def list_ngrams(text: str, size: int) -> list[tuple[str, ...]]:
    """The word n-grams of a text in their order; none if it has fewer than `size` words."""
    found = split_words(text)
    return list(zip(*(found[start:] for start in range(size))))


def hash_ngrams(text: str, size: int = 13) -> np.ndarray:
    """The sorted distinct 64-bit hashes of a text's word n-grams; empty if it has fewer than `size` words."""
    return drop_repetitions(hash_runs(hash_words(split_words(text)), size))


def split_shingle_tokens(text: str) -> list[str]:
    """At least two tokens, whose neighbouring pairs are the shingles: a lone one twice, the text itself if none."""
    found = split_tokens(text) or [" ".join(_fold_case(text).split())]
    return found if len(found) > 1 else found * 2


def hash_shingles(text: str) -> frozenset[int]:
    """The hashes of the pairs of neighbouring tokens of a text."""
    return frozenset(hash_runs(hash_words(split_shingle_tokens(text)), 2).tolist())


def measure_similarity(left: str, right: str) -> float:
    """Jaccard similarity of the shingles of two texts."""
    return compute_jaccard(hash_shingles(left), hash_shingles(right))


def compute_jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    """What two sets share, of all they hold."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


class _WordHashes(dict[str, int]):
    """XXH3 of words; remembered, for few words make up most of any text. A dict is faster than `lru_cache`."""

    def __missing__(self, word: str) -> int:
        if len(self) == REMEMBERED:
            self.clear()
        self[word] = number = xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return number


_hash_word = _WordHashes().__getitem__


def hash_words(found: list[str]) -> np.ndarray:
    """The hash of each word."""
    return np.fromiter(map(_hash_word, found), dtype=np.uint64, count=len(found))


def hash_runs(values: np.ndarray, size: int) -> np.ndarray:
    """The hash of each run of `size` values: differences of prefix sums, so the cost does not grow with `size`."""
    if len(values) < size:
        return np.empty(0, dtype=np.uint64)
    up, down = compute_powers(1 << (len(values) - 1).bit_length())
    sums = np.cumsum(values * up[: len(values)], dtype=np.uint64)
    runs = sums[size - 1 :].copy()
    runs[1:] -= sums[: len(sums) - size]
    return mix_bits(runs * down[: len(runs)])


@lru_cache(maxsize=64)
def compute_powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """`BASE**i` and its inverse modulo 2**64, for i below `count`."""
    both = [np.full(count, base, dtype=np.uint64) for base in (BASE, pow(BASE, -1, 2**64))]
    for factors in both:
        factors[0] = 1
        np.cumprod(factors, out=factors)
    return both[0], both[1]


def mix_bits(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value. Changes `values`."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def drop_repetitions(values: np.ndarray) -> np.ndarray:
    """Sorted without repetitions; a third of `np.unique`'s time. Changes `values`."""
    values.sort()
    return values[np.concatenate(([True], values[1:] != values[:-1]))] if len(values) else values
