"""The metrics give values known by hand and those of the libraries they stand on."""

import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score, f1_score

from tunelock.metrics.labels import label_rows, tell_other_cases
from tunelock.metrics.normalise import find_label, has_format, is_spaced, normalise
from tunelock.metrics.registry import METRICS, describe_versions
from tunelock.metrics.texts import explain_left_out

REFERENCES = ["Validate every input before it is used.", "The product does not escape output, so scripts run."]
ANSWERS = ["Validate all input before use.", "The product does not escape its output and scripts run."]
TEXT_METRICS = ["bleu", "chrf", "rouge_l", "exact_match", "token_f1", "accuracy", "macro_f1"]


def count(name: str, answers: list, references: list | None = None) -> np.ndarray:
    """The statistics of a metric; label metrics look for CWE ids."""
    rows = [
        {"id": str(n), "task": "t", "answer": answer, "reference": reference}
        for n, (answer, reference) in enumerate(zip(answers, references or answers, strict=True))
    ]
    rows = label_rows(rows, {"t": r"CWE-\d+"}, None)
    return METRICS[name].statistics([row for row in rows if METRICS[name].has(row)])


def compute(name: str, answers: list, references: list | None = None) -> float:
    """The score of a metric over answers."""
    return float(METRICS[name].score(count(name, answers, references).sum(axis=0)))


def compute_choices(name: str, losses: list, right: list, lengths: list | None = None) -> float:
    """The score of a metric over multiple choice; options are as long as `lengths` says."""
    options = [["x" * length for length in some] for some in lengths or [[1] * len(some) for some in losses]]
    rows = [{"choice_losses": a, "right": b, "choices": c} for a, b, c in zip(losses, right, options)]
    return METRICS[name].measure(rows)


def test_each_metric_has_a_name_a_plain_sentence_a_version_and_a_source():
    assert list(describe_versions()) == list(METRICS) and len(METRICS) == 23
    for name, metric in METRICS.items():
        assert metric.name == name and metric.version.count(".") == 2
        assert metric.meaning[0].isupper() or metric.name in metric.meaning.lower()
        assert metric.meaning.endswith(".")
        assert metric.source.startswith("https://") or Path(metric.source).exists()
        assert metric.direction in (-1, 0, 1) and (not metric.follows or metric.follows in METRICS)


def test_naming_the_metrics_waits_for_no_library_that_counts():
    heavy = "{'sacrebleu', 'rouge_score', 'scipy', 'torch'}"
    loads = f"import sys, tunelock.metrics.registry; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", loads], check=False).returncode == 0


def test_the_signatures_of_sacrebleu_are_recorded():
    scorer = sacrebleu.metrics.BLEU()
    scorer.corpus_score(["a"], [["a"]])
    assert describe_versions()["bleu"]["signature"] == str(scorer.get_signature())
    assert (
        "nc:6" in describe_versions()["chrf"]["signature"]
        and sacrebleu.__version__ in describe_versions()["chrf"]["signature"]
    )


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_identical_texts_score_best(metric):
    texts = ["CWE-79: one two three four", "CWE-89: five six seven eight"]
    assert compute(metric, texts, texts) == pytest.approx(100 if metric in ("bleu", "chrf") else 1)


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_disjoint_texts_score_zero(metric):
    assert compute(metric, ["ablp fgd"], ["CWE-79 one xxquu"]) == 0


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_an_empty_answer_scores_zero(metric):
    assert compute(metric, [""], ["CWE-79: one two three four"]) == 0


@pytest.mark.parametrize("seed", range(60))
def test_scores_of_summed_statistics_are_those_of_sacrebleu(seed):
    draw = random.Random(seed)
    some = ["the", "cat", "sat", "on", "a", "mat", ",", "dog", "ran", "in", ".", "when", "not"]
    said, wanted = ([" ".join(draw.choices(some, k=draw.randint(low, 7))) for _ in range(3)] for low in (0, 1))
    assert compute("bleu", said, wanted) == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score)
    assert compute("chrf", said, wanted) == pytest.approx(sacrebleu.corpus_chrf(said, [wanted]).score)


def test_scores_of_many_sums_are_those_of_each():
    rows, score = (
        count("bleu", [*ANSWERS, "no", "", "one two"], [*REFERENCES, "yes", "a b", "one two"]),
        METRICS["bleu"].score,
    )
    assert score(np.stack([rows, rows[::-1]])) == pytest.approx(np.stack([score(rows), score(rows[::-1])]))
    chars, score = count("chrf", [*ANSWERS, "no", ""], [*REFERENCES, "yes", "a b"]), METRICS["chrf"].score
    assert score(chars) == pytest.approx([score(row) for row in chars])


def test_bleu_of_a_correct_but_half_as_long_answer_is_its_brevity_penalty():
    assert compute("bleu", ["a b c d"], ["a b c d e f g h"]) == pytest.approx(100 * math.exp(1 - 8 / 4))


def test_bleu_is_that_of_the_corpus_as_sacrebleu_computes_it():
    value = compute("bleu", ANSWERS, REFERENCES)
    assert value == pytest.approx(sacrebleu.corpus_bleu(ANSWERS, [REFERENCES]).score)
    of_rows = [sacrebleu.sentence_bleu(a, [r]).score for a, r in zip(ANSWERS, REFERENCES)]
    assert value != pytest.approx(sum(of_rows) / 2)


def test_rouge_l_is_the_mean_f1_of_the_longest_common_subsequence():
    # "the cat" of three words each: F1 2/3; "a b" of two and four words: precision 1, recall 1/2, F1 2/3
    assert compute("rouge_l", ["the cat ran", "a b"], ["the cat sat", "a x b y"]) == pytest.approx(2 / 3)
    assert compute("rouge_l", ["the cat ran", "a b"], ["the cat sat", "a b"]) == pytest.approx((2 / 3 + 1) / 2)


def test_rouge_l_heeds_the_order_of_words():
    assert compute("rouge_l", ["c b a"], ["a b c"]) == pytest.approx(1 / 3)


def test_rouge_l_agrees_with_rouge_score():
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    direct = [scorer.score(reference, answer)["rougeL"].fmeasure for reference, answer in zip(REFERENCES, ANSWERS)]
    assert compute("rouge_l", ANSWERS, REFERENCES) == pytest.approx(sum(direct) / 2)


def test_accuracy_compares_ids_and_not_texts():
    answers = ["It is CWE-79, surely.", "CWE-79", "CWE-790: other", "Cross-site scripting."]
    references = ["CWE-79: Cross-site Scripting", "CWE-89: SQL Injection", "CWE-79: XSS", "CWE-79: XSS"]
    assert compute("accuracy", answers, references) == 1 / 4
    ids = ["CWE-79", "CWE-89", "CWE-79", "CWE-79"], ["CWE-79", "CWE-79", "CWE-790", "none"]
    assert compute("accuracy", answers, references) == accuracy_score(*ids)


def test_an_answer_without_an_id_is_wrong_and_a_reference_without_one_does_not_count():
    assert compute("accuracy", ["I do not know."], ["CWE-79"]) == 0
    assert len(count("accuracy", ["I do not know."], ["Escape the output."])) == 0


def test_macro_f1_is_that_of_scikit_learn_over_the_references_labels():
    said, wanted = list("ABACAAx"), list("AAACBDD")
    texts = [[f"CWE-{ord(c)}" if c != "x" else "none" for c in some] for some in (said, wanted)]
    expected = f1_score(wanted, said, labels=list("ABCD"), average="macro", zero_division=0)
    assert compute("macro_f1", *texts) == pytest.approx(expected)
    # A: 2 right, 2 wrong, 1 missed; C: right; B and D: never right
    assert expected == pytest.approx((4 / 7 + 0 + 1 + 0) / 4)


def test_macro_f1_of_some_rows_is_over_the_labels_that_these_have():
    rows, score = count("macro_f1", ["CWE-1", "CWE-2", "CWE-1"], ["CWE-1", "CWE-2", "CWE-3"]), METRICS["macro_f1"].score
    assert score(rows[:2].sum(axis=0)) == 1
    assert score(rows.sum(axis=0)) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_exact_match_and_token_f1_look_past_case_punctuation_and_articles():
    assert compute("exact_match", ["The  cat, sat!", "a dog"], ["cat sat", "dogs"]) == 1 / 2
    # bags {cat, cat, sat} and {cat, sat, down}: two in common, F1 2/3
    assert compute("token_f1", ["cat the cat sat"], ["A cat sat down."]) == pytest.approx(2 / 3)
    assert compute("token_f1", ["the"], ["a"]) == 1


def test_the_normal_form_is_that_of_squad():
    assert normalise("An  apple's a day -- THE end.") == "apples day end"
    assert normalise("theatre antenna") == "theatre antenna"
    assert normalise("a été à la maison") == "été à la maison"  # French: the verb is lost, the articles stay


def test_choices_go_to_the_lowest_loss_and_the_normalised_to_the_lowest_a_character():
    losses, right = [[4.0, 5.0], [4.0, 5.0], [1.0, 9.0]], [0, 1, 0]
    assert compute_choices("choice_accuracy", losses, right) == pytest.approx(2 / 3)
    lengths = [[10, 10], [2, 10], [3, 3]]  # the second question's long option is the likelier a character
    assert compute_choices("choice_accuracy_norm", losses, right, lengths) == 1


def test_repetition_is_the_share_of_runs_of_four_that_stood_there_before():
    assert compute("repetition", ["a b c d a b c d"]) == pytest.approx(1 / 5)
    assert compute("repetition", ["a b c", "w x y z"]) == 0


def check_formats(answers: list[str], check: str) -> float:
    rows = [{"task": "t", "answer": answer, "reference": ""} for answer in answers]
    return METRICS["format_valid"].measure(label_rows(rows, None, {"t": check}))


def test_format_is_json_or_a_pattern():
    assert check_formats(['{"a": 1}', "{a: 1}", "[]"], "json") == pytest.approx(2 / 3)
    assert check_formats(["CWE-1: x", "see CWE-1: x", "CWE-1:"], r"^CWE-\d+: .") == pytest.approx(1 / 3)


def test_calibration_error_weighs_the_bins_by_their_tokens():
    empty = [[0, 0, 0.0]] * 8
    rows = [[*empty, [10, 5, 8.5], [0, 0, 0.0]], [*empty, [0, 0, 0.0], [30, 30, 28.5]]]
    # 10 tokens: 0.5 right against 0.85 sure; 30 tokens: 1 against 0.95
    found = METRICS["calibration_error"].measure([{"confidence": row} for row in rows])
    assert found == pytest.approx((10 * 0.35 + 30 * 0.05) / 40)


def test_stop_rate_and_mean_length():
    assert METRICS["stop_rate"].measure([{"stopped": stopped} for stopped in (True, False, False, False)]) == 1 / 4
    assert METRICS["mean_length"].measure([{"new_tokens": tokens} for tokens in (3, 4, 8)]) == 5


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CWE-79", "CWE-79"),
        ("First CWE-20, then CWE-79.", "CWE-20"),
        ("CWE-1234: long", "CWE-1234"),
        ("line\nCWE-5", "CWE-5"),
        ("CWE-", None),
        ("CVE-2021-44228", None),
        ("", None),
    ],
)
def test_label_is_the_first_match_or_none(text, found):
    assert find_label(text, r"CWE-\d+") == found
    assert find_label(text, r"CWE-(\d+)") == (found and found[4:])


YES_NO = r"(?i)\b(yes|no|maybe)\b"


def measure_labels(answers: list[str], references: list[str], pattern: str = YES_NO, **more: list) -> dict[str, float]:
    """Accuracy and what it would be without a model."""
    rows = [{"task": "t", "answer": a, "reference": b} for a, b in zip(answers, references, strict=True)]
    for key, values in more.items():
        for row, value in zip(rows, values, strict=True):
            row[key] = value
    rows = label_rows(rows, {row["task"]: pattern for row in rows}, None)
    return {name: METRICS[name].measure(rows) for name in ("accuracy", "majority_accuracy", "chance_accuracy")}


@pytest.mark.parametrize("pattern", [YES_NO, "(?im)^(yes|no|maybe)", "(?i:yes|no|maybe)", "x|((?i:yes|no|maybe))"])
def test_labels_that_a_pattern_finds_whatever_their_case_are_compared_so(pattern):
    assert measure_labels(["No, it is not.", "YES", "Maybe"], ["no", "yes", "maybe"], pattern)["accuracy"] == 1
    assert METRICS["macro_f1"].version == METRICS["accuracy"].version == "2.0.0"


def test_where_the_pattern_knows_case_labels_know_it_too():
    assert measure_labels(["a", "A"], ["A", "A"], r"[aA]")["accuracy"] == 1 / 2
    assert find_label("(?i)A", r"\(\?i\)A") == "(?i)A"  # what looks like the flag is text that is looked for


@pytest.mark.parametrize(
    ("pattern", "answer", "reference", "told"),
    [
        ("yes|no", "No, never.", "no", True),
        ("(?i)yes|no", "No, never.", "no", False),  # counts as right
        ("yes|no", "Yes", "no", False),  # wrong in any case
        (r"CWE-\d+", "cwe-79: cross-site scripting", "CWE-79", True),
        (r"(?s)CWE-\d+", "cwe-79", "CWE-79", True),
        ("[A-D]", "b.", "B", True),
        ("[A-D]", "It is a bird.", "A", False),  # an article
    ],
)
def test_a_right_label_in_another_case_is_told(pattern, answer, reference, told):
    rows = label_rows([{"task": "t", "answer": answer, "reference": reference}] * 3, {"t": pattern}, None)
    sentences = tell_other_cases(rows, {"t": pattern})
    assert bool(sentences) == told
    if told:
        assert "3 answers of the task `t`" in sentences[0] and f"(?i){pattern}" in sentences[0]
        assert METRICS["accuracy"].measure(label_rows(rows, {"t": f"(?i){pattern}"}, None)) == 1


@pytest.mark.parametrize(
    ("pattern", "answer", "reference"),
    [
        ("(?i)not  ?supported|supported", "It is Not  Supported.", "not supported"),
        ("(?is)label: (.+)", "Label: much\nbetter", "label: much better "),
        ("ja|né", "ne\u0301", "né"),
        ("ja|ne\u0301", "né", "né"),
        (r"\d+", "第１２条", "12"),
        (r"\d+", "٣", "3"),
        ("^(نعم|لا)", "\u200fنعم", "نعم"),
        ("(.+)$", "\u2067לא\u2069", "לא\u200f"),
        (r"(?i)straße \d", "STRAßE 3", "straße 3"),
        (r"answer is (\w+)|^(no)$", "The answer is no", "no"),
        (r"(yes|no)?", "I say no", "no"),
    ],
)
def test_labels_are_the_same_whatever_nobody_sees(pattern, answer, reference):
    assert find_label(answer, pattern) == find_label(reference, pattern) is not None


def test_no_label_is_not_the_label_none():
    assert measure_labels(["I cannot say", "None"], ["None", "None"], "None|Some")["accuracy"] == 1 / 2


def test_beside_an_accuracy_stands_what_the_commonest_label_and_guessing_would_give():
    wanted = ["yes"] * 5 + ["no"] * 3 + ["maybe"] * 2
    found = measure_labels(["no"] * 10, wanted)
    assert found == pytest.approx({"accuracy": 0.3, "majority_accuracy": 0.5, "chance_accuracy": 1 / 3})
    found = measure_labels(["no"] * 3, ["no"] * 3, choices=[["a", "b"], ["a", "b", "c", "d"], ["a", "b"]])
    assert found["chance_accuracy"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3)


def test_the_commonest_label_is_that_of_each_task_and_of_each_resample():
    found = measure_labels(["no"] * 6, ["yes", "yes", "no", "no", "no", "yes"], task=["a", "a", "a", "b", "b", "b"])
    assert found["majority_accuracy"] == 4 / 6 and found["chance_accuracy"] == 1 / 2
    rows = label_rows(
        [{"task": "t", "answer": "", "reference": f"L{n % 300}"} for n in range(310)], {"t": r"L\d+"}, None
    )
    statistics, score = METRICS["majority_accuracy"].statistics(rows), METRICS["majority_accuracy"].score
    assert score(statistics.sum(axis=0)) == 2 / 310
    assert score(np.stack([statistics[:2].sum(axis=0), statistics[:1].sum(axis=0)])).tolist() == [1 / 2, 1]


def test_beside_the_accuracy_of_choices_stand_guessing_and_the_commonest_option_and_ties_are_counted():
    options, right = [["True", "False"]] * 3 + [["a", "b", "c", "d"]], [0, 0, 1, 3]
    losses = [[1.0, 1.0], [1.0, 1.009], [2.0, 1.0], [4.0, 5.0, 6.0, 7.0]]
    rows = [{"task": "t", "choices": a, "right": b, "choice_losses": c} for a, b, c in zip(options, right, losses)]
    assert METRICS["choice_chance"].measure(rows) == pytest.approx((3 / 2 + 1 / 4) / 4)
    assert METRICS["choice_majority"].measure(rows) == 2 / 4
    assert METRICS["choice_ties"].measure(rows) == 2 / 4


UNSPACED = {
    "Chinese": "今天天气很好,我们去公园散步。", "Japanese": "今日は天気がいいので公園を散歩します。",
    "Thai": "วันนี้อากาศดีเราไปเดินเล่นกัน", "Lao": "ມື້ນີ້ອາກາດດີ", "Khmer": "ថ្ងៃនេះអាកាសធាតុល្អ",
    "Burmese": "ယနေ့ရာသီဥတုသာယာသည်", "Tibetan": "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག", "Mixed": "使用 Python 的 pandas 库",
}  # fmt: skip
SPACED = {
    "Russian": "Сегодня хорошая погода.", "Korean": "오늘은 날씨가 좋아서 산책을 간다.", "Arabic": "الطقس جميل اليوم.",
    "Greek": "Ο καιρός είναι καλός.", "Hindi": "आज मौसम अच्छा है।", "German": "Schöne Grüße aus München.",
    "Quoting": "The word 你好 means hello.", "Vietnamese": "Hôm nay trời đẹp.",
}  # fmt: skip
OF_WORDS = ("bleu", "rouge_l", "token_f1")


@pytest.mark.parametrize("script", UNSPACED)
def test_what_counts_words_leaves_out_scripts_without_spaces_and_says_so(script):
    text = UNSPACED[script]
    row = {"task": "t", "answer": text, "reference": text}
    assert not is_spaced(text) and not any(METRICS[name].has(row) for name in OF_WORDS)
    assert compute("chrf", [text]) == pytest.approx(100) and compute("exact_match", [text]) == 1
    said = explain_left_out([row, row | {"reference": "two words"}, {"reference": text}])
    assert said.startswith("bleu, rouge_l, token_f1 leave out 1 of 2 answered rows")


@pytest.mark.parametrize("script", SPACED)
def test_what_counts_words_reads_every_script_with_spaces(script):
    text = SPACED[script]
    assert compute("rouge_l", [text]) == compute("token_f1", [text]) == 1
    assert compute("rouge_l", [text.split()[0]], [text]) < 1
    assert explain_left_out([{"answer": "", "reference": text}]) == ""


def test_there_is_no_figure_of_nothing():
    assert METRICS["rouge_l"].measure([]) is METRICS["macro_f1"].measure([]) is None


def test_rouge_l_cuts_no_word_at_an_umlaut():
    assert compute("rouge_l", ["schöner"], ["schärfer"]) == 0
    assert compute("rouge_l", ["Die Größe"], ["die gro\u0308ße"]) == 1


@pytest.mark.parametrize("seed", range(20))
def test_rouge_l_of_ascii_texts_is_that_of_rouge_score(seed):
    draw, scorer = random.Random(seed), RougeScorer(["rougeL"], use_stemmer=True)
    letters = "".join(map(chr, range(32, 127))) + "aeiou st ing \n\t" * 3
    for _ in range(20):
        answer, reference = ("".join(draw.choices(letters, k=200)) + " running the tests_of it's" for _ in range(2))
        assert compute("rouge_l", [answer], [reference]) == scorer.score(reference, answer)["rougeL"].fmeasure


def test_exact_match_knows_the_punctuation_and_the_forms_of_every_script():
    assert (
        compute(
            "exact_match",
            ["北京。", "１２％", "«Да»", "re\u0301sume\u0301", "¿Sí?"],
            ["北京", "12%", "да", "résumé", "sí"],
        )
        == 1
    )
    assert compute("exact_match", ["\u200fنعم؟", "٤٢", "हाँ।"], ["نعم", "42", "हाँ"]) == 1
    assert compute("exact_match", ["Straße"], ["STRASSE"]) == 1
    assert compute("exact_match", ["می\u200cخواهم"], ["میخواهم"]) == 0  # the joiner is part of how the word is spelt


def test_punctuation_that_is_the_answer_counts():
    assert compute("exact_match", ["-", "", "+", "。"], ["+", "+", "+", "。"]) == 1 / 2


def test_a_form_is_found_behind_marks_that_nobody_sees():
    assert has_format("\u200fنعم: لا", "^نعم: .") and has_format("ne\u0301: x", "^né: .")
