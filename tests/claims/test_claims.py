"""A difference is a win only outside its interval and its family, and the claim says in words what the numbers say."""

import random

import numpy as np
import pytest
from scipy.stats import binomtest

from tunelock.claims.claims import KEPT, judge_differences, make_claim
from tunelock.claims.comparison import compare_models
from tunelock.claims.significance import adjust_by_holm
from tunelock.metrics.labels import label_rows
from tunelock.metrics.registry import METRICS

LEVEL, SAMPLES = 0.95, 400
LABELS = {"classify": r"CWE-\d+"}
WORDS = ["check", "the", "input", "of", "users", "twice", "and", "never", "trust", "a", "path"]


def pair(seed: int, rows: int = 60, gain: float = 0.0, contrast: float = 0.0, groups: int = 15, split: str = "test"):
    """Rows of two models as `stages.evaluate` writes them, with noise that a group's rows share.

    gain: nats a token by which tuned is better; contrast: by how many its lead over another's answer is larger.
    """
    draw, both = random.Random(seed), ([], [])
    shifts = [[draw.gauss(0, 0.2) for _ in range(groups)] for _ in range(2)]
    for number in range(rows):
        group, tokens = number % groups, draw.randint(5, 60)
        task, right = ("classify", f"CWE-{group}: a name") if number % 3 == 0 else ("explain", said(draw))
        hard = draw.gauss(3, 0.5)
        for model, some in enumerate(both):
            loss = hard - gain * model + shifts[model][group] + draw.gauss(0, 0.2)
            other = loss + 0.5 + contrast * model + draw.gauss(0, 0.3)
            answer = f"CWE-{draw.choice([group, group + 1])}: a name" if task == "classify" else said(draw)
            some.append({
                "id": f"{split}-{number}", "split": split, "group": f"g{group}", "task": task, "question": "Which one?",
                "reference": right, "tokens": tokens, "loss": tokens * loss, "other_tokens": tokens,
                "other_loss": tokens * other, "answer": answer, "stopped": draw.random() < 0.8,
                "new_tokens": draw.randint(3, 30), "confidence": [[2, draw.randint(0, 2), b / 5] for b in range(10)],
            })  # fmt: skip
    return both


def said(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=8))


def measured(base: list[dict], tuned: list[dict]) -> dict:
    return compare_models(label_rows(base, LABELS, None), label_rows(tuned, LABELS, None), METRICS.values())


def judged(base: list[dict], tuned: list[dict], samples: int = SAMPLES) -> dict:
    found = judge_differences(measured(base, tuned), base, LEVEL, samples)
    return found | make_claim(found, LEVEL)


def entries(found: dict) -> dict[str, dict]:
    return {key: entry for key, entry in found.items() if isinstance(entry, dict)}


def test_a_clear_gain_is_claimed_with_its_numbers():
    found = judged(*pair(0, gain=0.5, contrast=0.3))
    loss = found["test_loss"]
    assert found["claim"] == "gain" and loss["verdict"] == "better"
    assert loss["difference"] == pytest.approx(loss["tuned"] - loss["base"])
    assert loss["low"] < loss["difference"] < loss["high"] < 0
    for shown in (f"{loss['base']:.3f}", f"{loss['tuned']:.3f}", f"{loss['low']:+.3f} to {loss['high']:+.3f}"):
        assert shown in found["claim_sentence"]
    assert "95 % interval" in found["claim_sentence"] and "60 rows of 15 groups" in found["claim_sentence"]
    assert f"{loss['smallest_effect']:.3f} on test" in found["claim_sentence"]


@pytest.mark.parametrize(("contrast", "claimed"), [(0.0, "gain"), (0.3, "gain"), (-0.2, "no gain"), (-0.5, "no gain")])
def test_a_lower_loss_is_a_gain_where_answers_still_depend_on_their_questions(contrast, claimed):
    found = judged(*pair(0, rows=150, gain=0.5, contrast=contrast))  # the base's contrast is 0.5
    assert found["test_loss"]["verdict"] == "better" and found["claim"] == claimed
    assert ("was kept (" in found["claim_sentence"]) == (claimed == "gain")
    assert ("shuffled answers" in found["claim_sentence"]) == (claimed == "no gain")


def test_a_contrast_that_may_have_shrunk_is_not_kept_though_it_is_not_worse():
    found = judged(*pair(0, gain=0.5, contrast=-0.08, rows=30))
    assert found["test_contrast"]["verdict"] == "undecided" and found["claim"] == "no gain"


def test_a_base_that_knows_nothing_leaves_no_contrast_to_keep():
    noise = np.random.default_rng(0).normal(0, 5, (2, 60))
    base, tuned = (
        [row | {"other_loss": row["loss"] + nats} for row, nats in zip(some, of_rows)]
        for some, of_rows in zip(pair(0, gain=0.5), noise)
    )
    assert judged(base, tuned)["claim"] == "no gain"
    knowing = [row | {"other_loss": row["loss"] + 0.5 * row["tokens"]} for row in tuned]
    assert judged(base, knowing)["claim"] == "gain"


def test_kept_low_is_the_lower_end_above_most_of_the_bases_contrast():
    found = judged(*pair(0, gain=0.5))["test_contrast"]
    assert found["kept_low"] < found["tuned"] - KEPT * found["base"]
    assert found["kept_low"] > found["low"]  # part of the base's contrast may go


def test_equal_models_gain_nothing():
    base, _ = pair(1)
    found = judged(base, base)
    assert found["claim"] == "no gain" and "may be chance" in found["claim_sentence"]
    assert {entry["verdict"] for entry in entries(found).values()} == {"undecided"}
    assert all(entry["p"] == 1 for entry in entries(found).values())


def test_a_model_that_became_worse_is_told_so():
    found = judged(*pair(2, gain=-0.5))
    assert found["test_loss"]["verdict"] == "worse"
    assert found["claim"] == "no gain" and "worse than the base" in found["claim_sentence"]


def test_each_measure_has_its_own_good_direction():
    base, tuned = pair(3)
    tuned = [row | {"answer": row["reference"], "stopped": True} for row in tuned]
    found = judged([row | {"stopped": False} for row in base], tuned)
    better = {key for key, entry in found.items() if isinstance(entry, dict) and entry["verdict"] == "better"}
    assert {"test_chrf", "test_rouge_l", "test_accuracy", "test_exact_match", "test_stop_rate"} <= better
    back = judged(tuned, [row | {"stopped": False} for row in base])
    assert {key for key, entry in entries(back).items() if entry["verdict"] == "worse"} == better


def test_lengths_have_no_good_direction_and_are_no_claim():
    assert not any("mean_length" in key for key in judged(*pair(0)))


def test_p_holm_is_over_all_differences_of_both_splits():
    both = [a + b for a, b in zip(pair(4, gain=0.1), pair(5, gain=0.1, split="golden", rows=30))]
    found = entries(judged(*both))
    assert {key.split("_")[0] for key in found} == {"test", "golden"}
    family = {key: max(entry["p"], entry.get("p_mcnemar", 0)) for key, entry in found.items()}
    assert {key: entry["p_holm"] for key, entry in found.items()} == pytest.approx(adjust_by_holm(family))
    assert any(entry["p"] < 0.05 <= entry["p_holm"] and entry["verdict"] == "undecided" for entry in found.values())


def test_accuracy_has_mcnemars_p_and_needs_both_tests():
    base, tuned = pair(6, rows=90)
    right = [row | {"answer": row["reference"]} if row["task"] == "classify" else row for row in tuned]
    entry = judged(base, right)["test_accuracy"]
    wrong = sum(row["answer"] != row["reference"] for row in base if row["task"] == "classify")
    assert entry["tuned"] == 1 and entry["p_mcnemar"] == pytest.approx(binomtest(wrong, wrong).pvalue)
    assert entry["p_holm"] >= entry["p_mcnemar"]


def label_pair(base: list[str], tuned: list[str], references: list[str]) -> tuple[list[dict], list[dict]]:
    """Two models' rows, a group each, with these answers."""
    one, other = pair(11, rows=len(base), groups=len(base))
    for some, answers in ((one, base), (other, tuned)):
        for row, answer, reference in zip(some, answers, references, strict=True):
            row |= {"task": "classify", "answer": answer, "reference": reference}
    return one, other


def test_an_accuracy_that_is_better_but_below_the_commonest_label_says_so():
    wanted = ["CWE-1"] * 14 + ["CWE-2"] * 8 + ["CWE-3"] * 8
    found = judged(*label_pair(["none"] * 30, ["CWE-2"] * 30, wanted))
    entry = found["test_accuracy"]
    assert entry["floors"] == pytest.approx({"majority_accuracy": 14 / 30, "chance_accuracy": 1 / 3})
    said = "Not above what takes no model: accuracy on test (0.267, the commonest label alone 0.467)."
    assert found["claim_sentence"].endswith(said)
    same = judged(*label_pair(["none"] * 30, ["CWE-1"] * 30, wanted))  # always the commonest label: it knows nothing
    assert "(0.467, the commonest label alone 0.467)" in same["claim_sentence"]
    assert "takes no model" not in judged(*label_pair(["none"] * 30, wanted, wanted))["claim_sentence"]


def test_nothing_is_claimed_of_what_takes_no_model_and_a_remark_stands_behind_the_claim():
    base, tuned = label_pair(["CWE-1"] * 12, ["CWE-1"] * 12, ["CWE-1", "CWE-2"] * 6)
    differences = judge_differences(measured(base, tuned), base, LEVEL, SAMPLES)
    assert not [key for key in differences if "majority" in key or "chance" in key]
    assert make_claim(differences, LEVEL, "Rouge was left out.")["claim_sentence"].endswith(" Rouge was left out.")


def test_few_rows_that_changed_need_mcnemars_p_as_well():
    base, tuned = pair(6, rows=12, groups=12)
    base = [row | {"task": "classify", "reference": "CWE-1", "answer": "CWE-2"} for row in base]
    tuned = [row | {"answer": "CWE-1" if n < 6 else "CWE-2"} for n, row in enumerate(base)]
    accuracy = {"accuracy": measured(base, tuned)["accuracy"]}
    entry = judge_differences(accuracy, base, LEVEL, SAMPLES)["test_accuracy"]
    assert entry["p"] < 0.02 < entry["p_mcnemar"] == entry["p_holm"] == 2 * 0.5**6


def test_bleu_is_resampled_as_a_corpus():
    base, tuned = pair(7)
    found = measured(base, tuned)["bleu"]
    assert (found.statistics[:, 1] == METRICS["bleu"].statistics(tuned)).all()
    entry = judged(base, tuned)["test_bleu"]
    assert entry["low"] <= entry["difference"] <= entry["high"]


def test_too_few_groups_leave_everything_undecided():
    found = judged(*pair(8, gain=2, groups=4))
    assert found["claim"] == "no gain" and "too few groups" in found["claim_sentence"]
    assert all("low" not in entry and entry["verdict"] == "undecided" for entry in entries(found).values())


def test_raw_texts_have_no_contrast_and_are_judged_by_their_loss():
    rows = [[{k: v for k, v in row.items() if not k.startswith("other")} for row in some] for some in pair(9, gain=0.5)]
    found = judged(*rows)
    assert found["claim"] == "gain" and "test_contrast" not in found


def test_no_test_rows_make_no_claim():
    found = judged(*pair(10, gain=0.5, split="golden"))
    assert found["claim"] == "no gain" and "no test rows" in found["claim_sentence"]


@pytest.mark.parametrize(("gain", "words"), [(0.5, "agrees"), (0.0, "leaves it open"), (-0.5, "says otherwise")])
def test_the_sentence_says_whether_the_golden_set_agrees(gain, words):
    both = [a + b for a, b in zip(pair(0, gain=0.5, contrast=0.3), pair(1, gain=gain, split="golden"))]
    assert f"the golden set {words}" in judged(*both)["claim_sentence"]


def test_models_that_differ_by_chance_alone_are_rarely_told_apart():
    """An A/A control: 400 pairs of equal models, all that needs no answers; twice the 5 % would be 40 of 400."""
    gains = wins = 0
    single = []
    for seed in range(400):
        rows = [
            [{k: v for k, v in row.items() if k != "answer"} for row in some] for some in pair(1000 + seed, rows=45)
        ]
        found = judged(*rows, samples=200)
        gains += found["claim"] == "gain"
        wins += any(entry["verdict"] != "undecided" for entry in entries(found).values())
        single += [entry["p"] < 0.05 for entry in entries(found).values()]
    assert gains <= wins <= 34  # 20 are expected; more than 34 with a probability below 0.002
    assert 0.02 < np.mean(single) < 0.08
