"""Which n-grams are boilerplate that many groups know, and which somebody's own sentence.

An n-gram is boilerplate if hardly a word of it stands outside pieces of four words that many groups know. Boilerplate
is put together from such pieces ("which of the following", "pulse is 80/min"), though the whole may be rare: vital
signs differ in their digits, stems in what they are put around. Somebody's own sentence has words in no such piece.
Brown et al. 2020 (https://arxiv.org/abs/2005.14165, appendix C) count whole n-grams, which takes much data.

Pieces are known by their hashes. The words of many rows are hashed at once, with a gap before and behind each row's,
and a piece that would reach into a gap has the hash NONE.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

import numpy as np

from tunelock.records.ngrams import drop_repetitions, hash_runs, hash_words, split_words
from tunelock.splitting.features import Features

PIECE = 4  # words
OWN_WORDS = 3  # outside frequent pieces make an n-gram somebody's own: two beside a stem may be there by chance
MOST_NUMBERS = 2  # in a piece; with more of them it is not the words that it is known by
FEW_GROUPS = 7  # that know a piece do not make it frequent, whatever their share
SAMPLE_ROWS = 10_000  # about as many rows tell which pieces are frequent
BLOCK = 2**10  # texts whose words are hashed together; n-grams whose words are ranked together
GAP = [""] * (PIECE - 1)
NONE = np.uint64(0)


def find_most_common(groups: np.ndarray, share: float) -> float:
    """How many of these groups may know a phrase that is no boilerplate: a share of SAMPLE_ROWS groups at most, for
    what so many know is nobody's own, however many groups there are."""
    return max(FEW_GROUPS, share * min(len(drop_repetitions(groups.copy())), SAMPLE_ROWS))


def sample_groups(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The rows of as many whole groups, chosen by their hash, as make about SAMPLE_ROWS."""
    if len(rows) <= SAMPLE_ROWS:
        return rows
    return rows[groups[rows] / 2.0**64 < SAMPLE_ROWS / len(rows)]


def read_words(known: Features, rows: np.ndarray) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield, for blocks of rows, the words of all with GAP before and behind each row's, and for each place at which
    a piece may begin its row."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        texts = [GAP + split_words(known.read_text(row)) for row in block.tolist()]
        yield [*chain.from_iterable(texts), *GAP], np.repeat(block, list(map(len, texts)))


def hash_pieces(words: list[str], hashes: np.ndarray) -> np.ndarray:
    """The hash of the piece that begins at each of these words but the last three, of which `hashes` has the hash:
    `#` stands for a number unless most of the piece is numbers."""
    number = np.fromiter(map(_has_digit, words), bool, len(words))
    masked = np.where(number, hash_words(["#"]), hashes)
    few = _add_neighbours(number) <= MOST_NUMBERS
    pieces = np.where(few, hash_runs(masked, PIECE), hash_runs(hashes, PIECE))
    pieces[_add_neighbours(hashes == hash_words([""])) > 0] = NONE
    return pieces


@lru_cache(2**17)
def _has_digit(word: str) -> bool:
    return not word.isalpha() and any(map(str.isdecimal, word))


def _add_neighbours(marks: np.ndarray) -> np.ndarray:
    """How many of the words of each piece are marked."""
    return np.convolve(marks, np.ones(PIECE, int), "valid")


def measure_rarity(
    known: Features, pieces: np.ndarray, places: np.ndarray, size: int, rows: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """For each n-gram how many groups of these rows know a piece with one of its words, the best piece for each word;
    of the words that of the OWN_WORDS-th lowest.

    Args:
        pieces: hashes of the pieces of texts, with a gap before and behind each.
        places: for each n-gram where in `pieces` its first word stands.
    """
    best = _count_groups_by_piece(known, pieces, rows, groups)
    counts = best.copy()
    for lag in range(1, PIECE):
        best[lag:] = np.maximum(best[lag:], counts[:-lag])
    rarity = np.zeros(len(places), int)
    for start in range(0, len(places), BLOCK):
        words = best[places[start : start + BLOCK, None] + np.arange(size)]
        rarity[start : start + BLOCK] = np.partition(words, OWN_WORDS - 1)[:, OWN_WORDS - 1]
    return rarity


def _count_groups_by_piece(known: Features, pieces: np.ndarray, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How many groups of these rows know each piece; none knows NONE."""
    wanted, place = np.unique(pieces, return_inverse=True)
    group = np.unique(groups, return_inverse=True)[1]
    pairs = [np.zeros(0, int)]
    for words, owners in read_words(known, rows if (wanted != NONE).any() else rows[:0]):
        found = hash_pieces(words, hash_words(words))
        at = np.minimum(np.searchsorted(wanted, found), len(wanted) - 1)
        hit = (wanted[at] == found) & (found != NONE)
        pairs.append(drop_repetitions(group[owners[hit]] * len(wanted) + at[hit]))
    counts = np.bincount(drop_repetitions(np.concatenate(pairs)) % max(len(wanted), 1), minlength=len(wanted))
    return counts[place]
