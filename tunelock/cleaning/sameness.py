"""Do two records say the same? Their own questions are compared and their answers, not the context that they share.

A long context makes two texts nearly equal whatever is asked about it. So the paragraphs that both questions have are
left out, and the sentences that both have, if these are many words.
"""

import re
from typing import NamedTuple

from tunelock.records.ngrams import compute_jaccard, hash_shingles, measure_similarity, split_words
from tunelock.records.record import PARAGRAPH_END, Message, Record, fold_text, is_text, keep_learnt_part, reference_of
from tunelock.records.templates import Literals, remove_literals

LONG = 24  # words of sentences that two questions share make a context
SAYING = 8  # words; shorter answers are equal by chance,
CLOSER = 0.5  # so their questions must be nearer to each other, by this share of what `threshold` leaves
SENTENCE = re.compile(r"[^.!?:;。！？\n]*[.!?:;。！？\n]+\s*|[^.!?:;。！？\n]+$")
TURNING = {"no", "not", "never", "none", "nor", "cannot", "without", "yes", "true", "false", "correct", "incorrect"}


class Said(NamedTuple):
    """What a record asks, in paragraphs, and what it answers; a raw text has no paragraphs, it is all answer.

    `pairs` are the hashes of the word pairs of the answer, which is compared with many.
    """

    paragraphs: list[str]
    answer: str
    pairs: frozenset[int]


def read_said(record: Record, literals: Literals) -> Said:
    """The texts that are compared, without the words of the source's own templates."""
    repeated = literals.get(record["source"], [])
    answer = remove_literals(reference_of(record), repeated)
    paragraphs: list[str] = []
    for message in () if is_text(record) else keep_learnt_part(record["messages"])[:-1]:
        paragraphs += filter(str.strip, remove_literals(_leave_context(message), repeated).split("\n"))
    return Said(paragraphs, answer, hash_shingles(answer))


def _leave_context(message: Message) -> str:
    """The content of a message without the context that a source's columns say it has."""
    count = message.get("question")
    if not count:
        return message["content"]
    parts = PARAGRAPH_END.split(message["content"])
    return "\n".join(parts[:count] if count > 0 else parts[count:])


def say_the_same(left: Said, right: Said, threshold: float) -> bool:
    """Whether both the questions and the answers of two records are alike, by the Jaccard index of word pairs."""
    if not left.paragraphs or not right.paragraphs:
        return left.paragraphs == right.paragraphs and compute_jaccard(left.pairs, right.pairs) >= threshold
    words = split_words(left.answer), split_words(right.answer)
    if _find_turning(words[0]) != _find_turning(words[1]):
        return False
    if compute_jaccard(left.pairs, right.pairs) < threshold:
        return False
    labels = min(map(len, words)) < SAYING
    return _measure_questions(left, right) >= (1 - CLOSER * (1 - threshold) if labels else threshold)


def _find_turning(words: list[str]) -> set[str]:
    """The words with which an answer turns into its opposite: numbers, yes and no."""
    return {word for word in words if word in TURNING or word.isdigit()}


def _measure_questions(left: Said, right: Said) -> float:
    """How much the questions are alike beside what they share as a context."""
    own = _leave_shared(left.paragraphs, right.paragraphs, 0)
    if own[0] and own[1]:
        own = _leave_shared(SENTENCE.findall(own[0]), SENTENCE.findall(own[1]), LONG)
    if not own[0] or not own[1]:
        return float(own[0] == own[1])
    return measure_similarity(*own)


def _leave_shared(left: list[str], right: list[str], least: int) -> tuple[str, str]:
    """Two texts without the pieces that are in both, if these are at least so many words."""
    ours, theirs = list(map(fold_text, left)), list(map(fold_text, right))
    shared = set(ours) & set(theirs)
    if len(split_words(" ".join(shared))) < least:
        return "\n".join(left), "\n".join(right)
    return _join_own(ours, shared), _join_own(theirs, shared)


def _join_own(pieces: list[str], shared: set[str]) -> str:
    return "\n".join(piece for piece in pieces if piece not in shared)
