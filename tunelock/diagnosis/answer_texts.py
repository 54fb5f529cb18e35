"""What is seen in one text: its words, whether it goes in circles, is copied, or stands in quotation marks."""

import re
from collections import Counter

LOOP = 0.5  # share of a text's runs of four words that stood in it before
COPY = 0.8  # share of a text's runs of four words that stand in the question
QUOTES = re.compile(r'\s*("(?:[^"]|"")*"|“[^“”]*”|«[^«»]*»)\s*')  # as a cell of a CSV file: a quote within is doubled


def split_text(text: str) -> list[str]:
    """Lower-case words; in scripts without spaces, characters."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|\w+", text.lower())


def _list_runs(text: str, size: int = 4) -> list[tuple[str, ...]]:
    """All runs of `size` words."""
    words = split_text(text)
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def is_looping(text: str, _question: str) -> bool:
    """Whether a text says the same again and again."""
    runs = _list_runs(text)
    return len(runs) > 3 and 1 - len(set(runs)) / len(runs) > LOOP


def is_copied(text: str, question: str) -> bool:
    """Whether a text is taken out of the question."""
    runs, there = _list_runs(text), set(_list_runs(question))
    return bool(runs) and sum(run in there for run in runs) / len(runs) > COPY


def measure_overlap(left: Counter, right: Counter) -> float:
    """F1 of two bags of words (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250)."""
    common = (left & right).total()
    return 2 * common / (left.total() + right.total()) if common else 0.0


def is_quoted(text: str, _question: str) -> bool:
    """Whether the whole text stands in quotation marks, as a cell of a table does before it is read."""
    return QUOTES.fullmatch(text) is not None
