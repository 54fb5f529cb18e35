"""From scores to claims: each difference with its interval, a family-wise p, a verdict, and one sentence for all.

A difference is `better` or `worse` when its interval leaves out 0 and Holm's p over all differences of both splits is
below 1 - level. The claim is a gain when the loss on test is better and the contrast was kept (`_is_gain` says why).
"""

import numpy as np

from tunelock.claims.comparison import Compared, mask_rows, sort_values
from tunelock.claims.sentences import write_claim_sentence
from tunelock.claims.significance import adjust_by_holm, compute_mcnemar
from tunelock.claims.uncertainty import bound_score, compare_scores
from tunelock.metrics.metric import Metric
from tunelock.records.scored_row import ScoredRow

KEPT = 0.8  # the share of the base's contrast that a tuned model is to have for sure


def judge_differences(
    measured: dict[str, Compared], rows: list[ScoredRow], level: float, samples: int
) -> dict[str, dict]:
    """metrics/claims.json without the claim: an entry for each split and metric that has a direction.

    base, tuned, difference (tuned - base), low, high, p, p_holm, verdict, smallest_effect, rows, groups; p_mcnemar
    where rows are right or wrong; `kept_low` of the contrast; `floors` of an accuracy, what it is without a model.
    Where an interval or test cannot be had, its keys are absent and the verdict is `undecided`. A metric that follows
    another one is no claim of its own.
    """
    entries, directions = {}, {}
    for split in sort_values(rows, "split"):
        for name, one in measured.items():
            part = one.select(mask_rows(rows, split=split))
            if one.metric.direction and not one.metric.follows and len(part.places):
                groups = [rows[place]["group"] for place in part.places]
                floors = _score_floors(measured, part.metric, mask_rows(rows, split=split))
                entries[f"{split}_{name}"] = _measure_difference(part, groups, level, samples) | floors
                directions[f"{split}_{name}"] = one.metric.direction
    adjusted = adjust_by_holm({key: _pick_family_p(entry) for key, entry in entries.items()})
    for key, entry in entries.items():
        entry["p_holm"] = adjusted[key]
        entry["verdict"] = _decide_verdict(entry, directions[key], level)
    return {key: _drop_unknown(entry) for key, entry in entries.items()}


def _score_floors(measured: dict[str, Compared], metric: Metric, chosen: np.ndarray) -> dict[str, dict[str, float]]:
    """The scores of the metrics that a metric is to be above, as `floors` of its entry."""
    known = [floor.metric for floor in metric.floors if floor.metric in measured]
    return {"floors": {name: measured[name].select(chosen).score_both()[1] for name in known}} if known else {}


def _drop_unknown(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if value is not None}


def _measure_difference(part: Compared, groups: list[str], level: float, samples: int) -> dict:
    """The interval of one difference as an entry of claims.json."""
    entry = compare_scores(part.statistics, part.metric.score, groups, level, samples)._asdict()
    if part.metric.binary:
        entry["p_mcnemar"] = compute_mcnemar(*part.statistics[:, :, 0].T)
    if part.metric.name == "contrast":
        entry["kept_low"] = _find_kept_low(part, groups, level, samples)
    return entry | {"rows": len(part.places)}


def _find_kept_low(part: Compared, groups: list[str], level: float, samples: int) -> float | None:
    """The lower end of what the tuned model's contrast has above KEPT of the base's, and above 0; nats a token."""
    base, tuned = part.statistics[:, 0].copy(), part.statistics[:, 1]
    base[:, 0] *= KEPT
    above = compare_scores(np.stack([base, tuned], axis=1), part.metric.score, groups, level, samples).low
    own = bound_score(tuned, part.metric.score, groups, level, samples).low
    return None if above is None or own is None else min(above, own)


def _pick_family_p(entry: dict) -> float | None:
    """What goes into Holm's family: of two tests the more careful one, for McNemar's knows no groups."""
    return None if entry["p"] is None else max(entry["p"], entry.get("p_mcnemar", 0.0))


def _decide_verdict(entry: dict, direction: int, level: float) -> str:
    """`better`, `worse` or `undecided`."""
    if entry["p_holm"] is None or max(entry["p"], entry["p_holm"]) >= 1 - level:
        return "undecided"
    return "better" if entry["difference"] * direction > 0 else "worse"


def make_claim(entries: dict[str, dict], level: float, remark: str = "") -> dict:
    """The claim and its sentence, from the entries of `judge_differences`; `remark` is another sentence behind it."""
    gain = _is_gain(entries)
    sentences = f"{write_claim_sentence(entries, gain, level)} {remark}".strip()
    return {"claim": "gain" if gain else "no gain", "claim_sentence": sentences}


def _is_gain(entries: dict[str, dict]) -> bool:
    """Whether the entries of `judge_differences` bear the claim of a gain.

    A lower loss alone does not: training on answers that were shuffled among the questions lowers it as far, for it
    teaches how answers look. But it also teaches that the question does not matter, so the contrast goes down. A gain
    is a loss that is better while the contrast was kept for sure (`kept_low` above 0). That the contrast is not
    `worse` would be too little: few rows never show that. That it is `better` would be too much: who learns how
    answers look as well, guesses more of any answer without its question. `benchmarks.controls` has the figures.
    Raw texts have no questions: of them the loss is all there is.
    """
    loss, contrast = entries.get("test_loss", {}), entries.get("test_contrast")
    return loss.get("verdict") == "better" and (contrast is None or contrast.get("kept_low", 0) > 0)
