"""Scores as functions of sums: an array of statistics, a line a row, and the score that their sum gives.

So a score can be had for a split, a task or a resample of groups without looking at the texts again. Functions named
`*_rows` make the statistics, shape (rows, k); the others turn sums, shape (..., k), into scores of shape (...).
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from tunelock.metrics.normalise import normalise
from tunelock.records.ngrams import list_ngrams


def shares(values: Iterable[float]) -> np.ndarray:
    """One value a row, and that it is one row; `mean` of it is the mean."""
    column = np.array([float(value) for value in values])
    return np.stack([column, np.ones_like(column)], axis=1)


def mean(sums: np.ndarray) -> np.ndarray:
    """The first statistic over the second; 0 where there is nothing."""
    return quotient(sums[..., 0], sums[..., 1])


def quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Element-wise, 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=np.asarray(below) != 0)


def bleu_rows(answers: list[str], references: list[str]) -> np.ndarray:
    """sacrebleu's statistics of BLEU: lengths of answer and reference, right 1- to 4-grams, all 1- to 4-grams."""
    return np.array(BLEU()._extract_corpus_statistics(answers, [references]), dtype=float).reshape(-1, 10)


def bleu(sums: np.ndarray) -> np.ndarray:
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


def chrf_rows(answers: list[str], references: list[str]) -> np.ndarray:
    """sacrebleu's statistics of chrF: character n-grams of the answer, the reference and both, for n of 1 to 6."""
    return np.array(CHRF()._extract_corpus_statistics(answers, [references]), dtype=float).reshape(-1, 18)


def chrf(sums: np.ndarray) -> np.ndarray:
    """Corpus chrF2, 0 to 100, as sacrebleu's default (Popović 2015, https://aclanthology.org/W15-3049)."""
    said, wanted, right = (sums[..., place::3] for place in range(3))
    orders = ((said > 0) & (wanted > 0)).astype(float)
    count = orders.sum(axis=-1)
    precision, recall = (quotient((quotient(right, of) * orders).sum(axis=-1), count) for of in (said, wanted))
    return 100 * quotient(5 * precision * recall, 4 * precision + recall)


def rouge_l_rows(answers: list[str], references: list[str]) -> np.ndarray:
    """F1 of the longest common subsequence of stemmed words, a row each."""
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return shares(scorer.score(b, a)["rougeL"].fmeasure for a, b in zip(answers, references, strict=True))


def exact_match_rows(answers: list[str], references: list[str]) -> np.ndarray:
    """Whether answer and reference have the same normal form."""
    return shares(normalise(a) == normalise(b) for a, b in zip(answers, references, strict=True))


def token_f1_rows(answers: list[str], references: list[str]) -> np.ndarray:
    """F1 of the words of the normal forms as bags."""
    return shares(token_f1(normalise(a), normalise(b)) for a, b in zip(answers, references, strict=True))


def token_f1(left: str, right: str) -> float:
    """F1 of the words of two texts, 1 if neither has any."""
    a, b = Counter(left.split()), Counter(right.split())
    return 2 * (a & b).total() / (a.total() + b.total()) if a or b else 1.0


def macro_f1_rows(found: list[str | None], wanted: list[str]) -> np.ndarray:
    """Three blocks, a column a wanted label: found rightly, found wrongly, missed."""
    names = {name: place for place, name in enumerate(sorted(set(wanted)))}
    counts = np.zeros((len(wanted), 3, len(names)))
    for row, (said, right) in enumerate(zip(found, wanted, strict=True)):
        counts[row, 0 if said == right else 2, names[right]] = 1
        if said != right and said in names:
            counts[row, 1, names[said]] = 1
    return counts.reshape(len(wanted), -1)


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """The mean F1 of the labels that any reference has."""
    right, wrong, missed = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    scores = quotient(2 * right, 2 * right + wrong + missed)
    wanted = right + missed > 0
    return quotient((scores * wanted).sum(axis=-1), wanted.sum(axis=-1))


def choice_rows(losses: list[list[float]], right: list[int], lengths: list[list[int]] | None = None) -> np.ndarray:
    """Whether the right option has the lowest loss; with `lengths` (characters), the lowest loss a character."""
    per = lengths or [[1] * len(options) for options in losses]
    picked = [int(np.argmin(np.divide(a, np.maximum(b, 1)))) for a, b in zip(losses, per, strict=True)]
    return shares(a == b for a, b in zip(picked, right, strict=True))


def repetition_rows(answers: list[str]) -> np.ndarray:
    """The share of an answer's runs of four words that stood in it before."""
    runs = [list_ngrams(text, 4) for text in answers]
    return shares(1 - len(set(found)) / len(found) if found else 0.0 for found in runs)


def confidence_rows(tables: list[list[list[float]]]) -> np.ndarray:
    """Of each bin of confidence: tokens, how often the likeliest one was right, and the sum of its probabilities."""
    return np.array(tables, dtype=float).reshape(len(tables), 3 * len(tables[0]) if tables else 0)


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error, 0 to 1: how far confidence and accuracy are apart in the bins, by their tokens.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    tokens, right, confidence = (sums[..., place::3] for place in range(3))
    return quotient(np.abs(right - confidence).sum(axis=-1), tokens.sum(axis=-1))
