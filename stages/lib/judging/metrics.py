"""Metrics on answers as `evaluate.Metric` classes: usable with `Bleu().compute(predictions=..., references=...)`.

They are defined here because `evaluate.load` downloads its code from a hub.
"""

import re

import evaluate
from datasets import Features, Value
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from sklearn.metrics import accuracy_score

TEXTS = Features({"predictions": Value("string"), "references": Value("string")})
LABEL = re.compile(r"CWE-\d+")


class Bleu(evaluate.Metric):
    """Corpus BLEU, 0 to 100, as sacrebleu computes it (Post 2018, https://aclanthology.org/W18-6319)."""

    def _info(self):
        return evaluate.MetricInfo(description=self.__doc__, citation="", features=TEXTS)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"bleu": BLEU().corpus_score(predictions, [references]).score}


class RougeL(evaluate.Metric):
    """Mean F1 of the longest common subsequence of words, 0 to 1 (Lin 2004, https://aclanthology.org/W04-1013)."""

    def _info(self):
        return evaluate.MetricInfo(description=self.__doc__, citation="", features=TEXTS)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        scorer = RougeScorer(["rougeL"], use_stemmer=True)
        pairs = zip(references, predictions)
        return {"rouge_l": sum(scorer.score(*pair)["rougeL"].fmeasure for pair in pairs) / len(references)}


class LabelAccuracy(evaluate.Metric):
    """Share of answers whose first CWE id is that of the reference, 0 to 1; an answer without one is wrong."""

    def _info(self):
        return evaluate.MetricInfo(description=self.__doc__, citation="", features=TEXTS)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        wanted = [label(text) for text in references]
        found = [label(text) for text in predictions]
        found = ["no answer" if key == "none" else key for key in found]  # not even equal to a reference without an id
        return {"accuracy": accuracy_score(wanted, found)}


def label(text: str) -> str:
    """The first CWE id in a text, or `none`."""
    found = LABEL.search(text)
    return found[0] if found else "none"
