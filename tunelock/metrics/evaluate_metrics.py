"""Metrics as `evaluate.Metric` classes: usable anywhere with `Bleu().compute(predictions=..., references=...)`.

They are defined here because `evaluate.load` downloads its code from a hub. What they compute is in `statistics`; a
class adds the form, a version that rises whenever its figures can change, and the source of the method.
"""

import evaluate
from datasets import Features, Sequence, Value
from sklearn.metrics import accuracy_score, f1_score

import tunelock.metrics.statistics as st
from tunelock.metrics.normalise import label, valid
from tunelock.metrics.versions import DEFINITIONS

TEXTS = Features({"predictions": Value("string"), "references": Value("string")})
ANSWERS = Features({"predictions": Value("string")})
CHOICES = {"predictions": Sequence(Value("float64")), "references": Value("int64")}


class Measured(evaluate.Metric):
    """The common form: `key` names the figure; what `DEFINITIONS` says of it are `version` and `source`."""

    key, features = "", TEXTS

    def __init_subclass__(cls):
        cls.version, cls.source = DEFINITIONS[cls.key][:2]

    def _info(self):
        return evaluate.MetricInfo(description=self.__doc__, citation=self.source, features=self.features)

    def _compute(self, **columns) -> dict[str, float]:
        return {self.key: float(self.score(**columns))}


class Bleu(Measured):
    """Corpus BLEU of answers (predictions) against references, 0 to 100, as sacrebleu computes it."""

    key = "bleu"

    def score(self, predictions, references):
        return st.bleu(st.bleu_rows(predictions, references).sum(axis=0))


class ChrF(Measured):
    """Corpus chrF2, 0 to 100, as sacrebleu computes it; fit for any language."""

    key = "chrf"

    def score(self, predictions, references):
        return st.chrf(st.chrf_rows(predictions, references).sum(axis=0))


class RougeL(Measured):
    """Mean F1 of the longest common subsequence of stemmed words, 0 to 1.

    rouge-score's words are of a-z and 0-9 alone: texts in other scripts score 0; chrF is for those.
    """

    key = "rouge_l"

    def score(self, predictions, references):
        return st.mean(st.rouge_l_rows(predictions, references).sum(axis=0))


class ExactMatch(Measured):
    """Share of answers that are the reference, 0 to 1, in the normal form of `normalise.normalise`."""

    key = "exact_match"

    def score(self, predictions, references):
        return st.mean(st.exact_match_rows(predictions, references).sum(axis=0))


class TokenF1(Measured):
    """Mean F1 of the bags of words, 0 to 1, in the normal form of `normalise.normalise`."""

    key = "token_f1"

    def score(self, predictions, references):
        return st.mean(st.token_f1_rows(predictions, references).sum(axis=0))


class LabelAccuracy(Measured):
    """Share of answers whose first label (regular expression `pattern`) is that of the reference, 0 to 1.

    An answer without a label is wrong, even where the reference has none.
    """

    key = "accuracy"

    def _compute(self, predictions, references, pattern):
        found = [label(text, pattern) or "no label" for text in predictions]
        wanted = [label(text, pattern) or "no label either" for text in references]
        return {self.key: float(accuracy_score(wanted, found))}


class MacroF1(Measured):
    """Mean over the references' labels of the F1 of finding them, 0 to 1; references without a label do not count."""

    key = "macro_f1"

    def _compute(self, predictions, references, pattern):
        pairs = [(label(a, pattern) or "no label", label(b, pattern)) for a, b in zip(predictions, references)]
        found, wanted = zip(*[pair for pair in pairs if pair[1]]) if any(right for _, right in pairs) else ((), ())
        options = {"labels": sorted(set(wanted)), "average": "macro", "zero_division": 0}
        return {self.key: float(f1_score(wanted, found, **options)) if wanted else 0.0}


class ChoiceAccuracy(Measured):
    """Share of multiple-choice questions, 0 to 1, whose right option is the likeliest answer.

    predictions: the summed nats of each option; references: the index of the right one. As lm-evaluation-harness' acc.
    """

    key = "choice_accuracy"
    features = Features(CHOICES)

    def score(self, predictions, references):
        return st.mean(st.choice_rows(predictions, references).sum(axis=0))


class ChoiceAccuracyNorm(Measured):
    """The same by nats a character of the option (`lengths`), which does not favour short options: acc_norm."""

    key = "choice_accuracy_norm"
    features = Features(CHOICES | {"lengths": Sequence(Value("int64"))})

    def score(self, predictions, references, lengths):
        return st.mean(st.choice_rows(predictions, references, lengths).sum(axis=0))


class StopRate(Measured):
    """Share of answers that ended by themselves (predictions: whether they did), 0 to 1."""

    key, features = "stop_rate", Features({"predictions": Value("bool")})

    def score(self, predictions):
        return st.mean(st.shares(predictions).sum(axis=0))


class MeanLength(StopRate):
    """Mean length of the answers (predictions: tokens of each)."""

    key, features = "mean_length", Features({"predictions": Value("int64")})


class Repetition(Measured):
    """Mean share of an answer's runs of four words that stood in it before, 0 to 1: 1 - distinct-4.

    Of answers below four words it is 0.
    """

    key, features = "repetition", ANSWERS

    def score(self, predictions):
        return st.mean(st.repetition_rows(predictions).sum(axis=0))


class FormatValid(Measured):
    """Share of answers that pass `check`, 0 to 1: `json`, or a regular expression to be found in them."""

    key, features = "format_valid", ANSWERS

    def _compute(self, predictions, check):
        return {self.key: float(st.mean(st.shares(valid(text, check) for text in predictions).sum(axis=0)))}


class CalibrationError(Measured):
    """Expected calibration error of the next-token probabilities, 0 to 1.

    predictions: a table a row; of each of ten bins of confidence the tokens, how many of the likeliest tokens were
    right, and the sum of their probabilities.
    """

    key = "calibration_error"
    features = Features({"predictions": Sequence(Sequence(Value("float64")))})

    def score(self, predictions):
        return st.calibration_error(st.confidence_rows(predictions).sum(axis=0))


METRICS = (Bleu, ChrF, RougeL, ExactMatch, TokenF1, LabelAccuracy, MacroF1, ChoiceAccuracy, ChoiceAccuracyNorm,
           StopRate, MeanLength, Repetition, FormatValid, CalibrationError)  # fmt: skip
