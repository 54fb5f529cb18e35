"""Metrics of two texts: the answer beside the reference.

The libraries are imported where they count: naming the metrics must not wait for them.
"""

import unicodedata
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from tunelock.metrics.metric import Column, Metric, divide_safely, pair_with_ones
from tunelock.metrics.normalise import is_spaced, normalise
from tunelock.records.ngrams import split_words
from tunelock.records.scored_row import ScoredRow

if TYPE_CHECKING:
    from rouge_score.tokenizers import DefaultTokenizer


def is_answered(row: ScoredRow) -> bool:
    """Whether the model wrote an answer to the row's question."""
    return "answer" in row


def _is_answered_in_words(row: ScoredRow) -> bool:
    """Whether the row was answered and its reference has spaces between words, which BLEU and token F1 cut at.

    The answer is not asked: one in another script than the reference has nothing in common with it and scores 0.
    """
    return "answer" in row and is_spaced(row["reference"])


def _has_reference_words(row: ScoredRow) -> bool:
    """The same of a reference that is not punctuation or pictures alone: ROUGE-L counts letters and digits."""
    return _is_answered_in_words(row) and bool(split_words(row["reference"]))


def explain_left_out(rows: list[ScoredRow]) -> str:
    """A sentence on the answered rows that the metrics of words cannot measure; empty if there are none."""
    answered = list(filter(is_answered, rows))
    unread = len(answered) - len(list(filter(_has_reference_words, answered)))
    names = [metric.name for metric in METRICS if metric.has in (_is_answered_in_words, _has_reference_words)]
    if not unread:
        return ""
    return (
        f"{', '.join(names)} leave out {unread} of {len(answered)} answered rows, for their references have no spaces "
        "between words, or no words; chrf counts characters and measures them."
    )


def _split_texts(rows: list[ScoredRow]) -> tuple[list[str], list[str]]:
    """The answers and the references, in Unicode form NFC."""
    answers = [unicodedata.normalize("NFC", row["answer"]) for row in rows]
    return answers, [unicodedata.normalize("NFC", row["reference"]) for row in rows]


def _count_bleu(rows: list[ScoredRow]) -> np.ndarray:
    """sacrebleu's statistics of BLEU: lengths of answer and reference, right 1- to 4-grams, all 1- to 4-grams.

    Shape (rows, 10).
    """
    from sacrebleu.metrics import BLEU

    answers, references = _split_texts(rows)
    return np.array(BLEU()._extract_corpus_statistics(answers, [references]), dtype=float).reshape(-1, 10)


def _score_bleu(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU, 0 to 100, as sacrebleu's default: an n-gram order without a match counts half of the one before.

    Papineni et al. 2002, https://aclanthology.org/P02-1040; Post 2018, https://aclanthology.org/W18-6319; smoothing
    3 of Chen and Cherry 2014, https://aclanthology.org/W14-3346.
    """
    said, wanted, right, total = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    smoothed = np.where(right > 0, right, 0.5 ** np.cumsum(right == 0, axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(smoothed / total).mean(axis=-1)
        brevity = np.minimum(0.0, 1 - wanted / said)
        scores = 100 * np.exp(logs + brevity)
    return np.where((right.sum(axis=-1) > 0) & (total > 0).all(axis=-1), scores, 0.0)


def _sign_bleu() -> str:
    """sacrebleu's own signature of its default BLEU with one reference a row."""
    from sacrebleu.metrics import BLEU

    scorer = BLEU()
    scorer.corpus_score(["a"], [["a"]])  # or it does not know how many references there are
    return str(scorer.get_signature())


def _count_chrf(rows: list[ScoredRow]) -> np.ndarray:
    """sacrebleu's statistics of chrF: character n-grams of the answer, the reference and both, for n of 1 to 6.

    Shape (rows, 18).
    """
    from sacrebleu.metrics import CHRF

    answers, references = _split_texts(rows)
    return np.array(CHRF()._extract_corpus_statistics(answers, [references]), dtype=float).reshape(-1, 18)


def _score_chrf(sums: np.ndarray) -> np.ndarray:
    """Corpus chrF2, 0 to 100, as sacrebleu's default (Popović 2015, https://aclanthology.org/W15-3049)."""
    said, wanted, right = (sums[..., place::3] for place in range(3))
    orders = ((said > 0) & (wanted > 0)).astype(float)
    count = orders.sum(axis=-1)
    precision, recall = (
        divide_safely((divide_safely(right, among) * orders).sum(axis=-1), count) for among in (said, wanted)
    )
    return 100 * divide_safely(5 * precision * recall, 4 * precision + recall)


def _sign_chrf() -> str:
    """sacrebleu's own signature of its default chrF with one reference a row."""
    from sacrebleu.metrics import CHRF

    scorer = CHRF()
    scorer.corpus_score(["a"], [["a"]])
    return str(scorer.get_signature())


def _count_rouge_l(rows: list[ScoredRow]) -> np.ndarray:
    """F1 of the longest common subsequence of stemmed words, and one, shape (rows, 2).

    rouge-score's own words are of a-z and 0-9 alone, so that an umlaut cuts a word in two; ours are those of
    `tunelock.records.ngrams`. Of ASCII texts both are the same.
    """
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    scorer = RougeScorer(["rougeL"], tokenizer=_Words(DefaultTokenizer(use_stemmer=True)))
    return pair_with_ones(scorer.score(row["reference"], row["answer"])["rougeL"].fmeasure for row in rows)


class _Words:
    """A tokenizer for rouge-score: words of any script, of which its own tokenizer stems those of ASCII."""

    def __init__(self, own: "DefaultTokenizer"):
        self._own = own

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        found: list[str] = []
        for word in split_words(unicodedata.normalize("NFC", text)):
            found += self._own.tokenize(word) if word.isascii() else [word]
        return found


def _sign_rouge_l() -> str:
    """The library, its version and the settings that are not its default."""
    return f"rouge-score {version('rouge-score')}, stemmer, words of all scripts"


def _count_exact_matches(rows: list[ScoredRow]) -> np.ndarray:
    """Whether answer and reference have the same normal form, and one, shape (rows, 2)."""
    return pair_with_ones(normalise(row["answer"]) == normalise(row["reference"]) for row in rows)


def _count_token_f1(rows: list[ScoredRow]) -> np.ndarray:
    """F1 of the words of the normal forms as bags, and one, shape (rows, 2)."""
    return pair_with_ones(_find_token_f1(normalise(row["answer"]), normalise(row["reference"])) for row in rows)


def _find_token_f1(left: str, right: str) -> float:
    """F1 of the words of two texts, 1 if neither has any."""
    a, b = Counter(left.split()), Counter(right.split())
    return 2 * (a & b).total() / (a.total() + b.total()) if a or b else 1.0


METRICS = (
    Metric(
        "bleu",
        "BLEU over all answers, 0 to 100.",
        "2.0.0",
        "https://aclanthology.org/W18-6319",
        _is_answered_in_words,
        _count_bleu,
        _score_bleu,
        digits=1,
        unit="of 100",
        signature=_sign_bleu,
    ),
    Metric(
        "chrf",
        "How much of the references stands in the answers, 0 to 100, by runs of characters (chrF).",
        "2.0.0",
        "https://aclanthology.org/W15-3049",
        is_answered,
        _count_chrf,
        _score_chrf,
        digits=1,
        unit="of 100",
        in_table=True,
        headline=True,
        shrinks_with_length=True,
        signature=_sign_chrf,
    ),
    Metric(
        "rouge_l",
        "F1 of the longest common subsequence of words with the reference.",
        "2.0.0",
        "https://aclanthology.org/W04-1013",
        _has_reference_words,
        _count_rouge_l,
        in_table=True,
        column=Column("rouge_l"),
        signature=_sign_rouge_l,
    ),
    Metric(
        "exact_match",
        "Share of answers equal to the reference, whatever their case, articles and punctuation.",
        "2.0.0",
        "https://arxiv.org/abs/1606.05250",
        is_answered,
        _count_exact_matches,
        binary=True,
    ),
    Metric(
        "token_f1",
        "F1 of the words shared with the reference.",
        "2.0.0",
        "https://arxiv.org/abs/1606.05250",
        _is_answered_in_words,
        _count_token_f1,
        in_table=True,
        column=Column("token_f1"),
    ),
)
