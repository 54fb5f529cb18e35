"""The metrics give values known by hand and those of the libraries they stand on."""

import math

import evaluate
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score

from stages.lib.judging.metrics import Bleu, LabelAccuracy, RougeL, label

REFERENCES = ["Validate every input before it is used.", "The product does not escape output, so scripts run."]
ANSWERS = ["Validate all input before use.", "The product does not escape its output and scripts run."]


def compute(metric: type, answers: list[str], references: list[str]) -> float:
    """The single figure of a metric."""
    (value,) = metric(keep_in_memory=True).compute(predictions=answers, references=references).values()
    return value


@pytest.mark.parametrize(("metric", "key"), [(Bleu, "bleu"), (RougeL, "rouge_l"), (LabelAccuracy, "accuracy")])
def test_each_is_an_evaluate_metric_with_one_named_figure(metric, key):
    assert issubclass(metric, evaluate.Metric)
    assert set(metric(keep_in_memory=True).compute(predictions=["CWE-1 a"], references=["CWE-1 a"])) == {key}


@pytest.mark.parametrize(("metric", "best"), [(Bleu, 100), (RougeL, 1), (LabelAccuracy, 1)])
def test_identical_texts_score_best(metric, best):
    texts = ["CWE-79: one two three four", "CWE-89: five six seven eight"]
    assert compute(metric, texts, texts) == pytest.approx(best)


@pytest.mark.parametrize("metric", [Bleu, RougeL, LabelAccuracy])
def test_disjoint_texts_score_zero(metric):
    assert compute(metric, ["alpha beta gamma delta"], ["CWE-79 one two three"]) == 0


@pytest.mark.parametrize("metric", [Bleu, RougeL, LabelAccuracy])
def test_an_empty_answer_scores_zero(metric):
    assert compute(metric, [""], ["CWE-79: one two three four"]) == 0


@pytest.mark.parametrize("metric", [Bleu, RougeL, LabelAccuracy])
def test_a_missing_answer_is_refused_rather_than_left_out(metric):
    with pytest.raises(ValueError, match="Mismatch"):
        compute(metric, ["CWE-79 a"], ["CWE-79 a", "CWE-89 b"])


def test_bleu_of_a_correct_but_half_as_long_answer_is_its_brevity_penalty():
    assert compute(Bleu, ["a b c d"], ["a b c d e f g h"]) == pytest.approx(100 * math.exp(1 - 8 / 4))


def test_bleu_is_that_of_the_corpus_as_sacrebleu_computes_it():
    value = compute(Bleu, ANSWERS, REFERENCES)
    assert value == pytest.approx(sacrebleu.corpus_bleu(ANSWERS, [REFERENCES]).score)
    of_rows = [sacrebleu.sentence_bleu(a, [r]).score for a, r in zip(ANSWERS, REFERENCES)]
    assert value != pytest.approx(sum(of_rows) / 2)


def test_rouge_l_is_the_mean_f1_of_the_longest_common_subsequence():
    # "the cat" of three words each: F1 2/3; "a b" of two and four words: precision 1, recall 1/2, F1 2/3
    assert compute(RougeL, ["the cat ran", "a b"], ["the cat sat", "a x b y"]) == pytest.approx(2 / 3)
    assert compute(RougeL, ["the cat ran", "a b"], ["the cat sat", "a b"]) == pytest.approx((2 / 3 + 1) / 2)


def test_rouge_l_heeds_the_order_of_words():
    assert compute(RougeL, ["c b a"], ["a b c"]) == pytest.approx(1 / 3)


def test_rouge_l_agrees_with_rouge_score():
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    direct = [scorer.score(reference, answer)["rougeL"].fmeasure for reference, answer in zip(REFERENCES, ANSWERS)]
    assert compute(RougeL, ANSWERS, REFERENCES) == pytest.approx(sum(direct) / 2)


def test_accuracy_compares_ids_and_not_texts():
    answers = ["It is CWE-79, surely.", "CWE-79", "CWE-790: other", "Cross-site scripting."]
    references = ["CWE-79: Cross-site Scripting", "CWE-89: SQL Injection", "CWE-79: XSS", "CWE-79: XSS"]
    assert compute(LabelAccuracy, answers, references) == 1 / 4
    ids = ["CWE-79", "CWE-89", "CWE-79", "CWE-79"], ["CWE-79", "CWE-79", "CWE-790", "none"]
    assert compute(LabelAccuracy, answers, references) == accuracy_score(*ids)


def test_an_answer_without_an_id_is_wrong_even_where_the_reference_has_none():
    assert compute(LabelAccuracy, ["I do not know."], ["Escape the output."]) == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CWE-79", "CWE-79"),
        ("First CWE-20, then CWE-79.", "CWE-20"),
        ("CWE-1234: long", "CWE-1234"),
        ("line\nCWE-5", "CWE-5"),
        ("CWE-", "none"),
        ("CVE-2021-44228", "none"),
        ("", "none"),
    ],
)
def test_label_is_the_first_cwe_id_or_none(text, found):
    assert label(text) == found
