"""From measures to claims: each difference with its interval, a family-wise p, a verdict, and one sentence for all.

A difference is `better` or `worse` when its interval leaves out 0 and Holm's p over all differences of both splits is
below 1 - level. The claim is a gain when the loss on test is better and the contrast was kept (`is_gain` says why).
"""

import numpy as np

from tunelock.claims.comparison import Compared, mask, values
from tunelock.claims.sentences import sentence
from tunelock.claims.significance import holm, mcnemar
from tunelock.claims.uncertainty import alone, paired_statistic

KEPT = 0.8  # the share of the base's contrast that a tuned model is to have for sure


def claims(measured: dict[str, Compared], rows: list[dict], level: float, samples: int) -> dict:
    """metrics/claims.json without the claim: an entry for each split and measure that has a direction.

    base, tuned, difference (tuned - base), low, high, p, p_holm, verdict, smallest_effect, rows, groups; p_mcnemar
    where rows are right or wrong; `kept_low` of the contrast. Where an interval or test cannot be had, its keys are
    absent and the verdict is `undecided`.
    """
    found, groups = {}, np.array([row["group"] for row in rows])
    for split in values(rows, "split"):
        for name, one in measured.items():
            part = one.part(mask(rows, split=split))
            if one.measure.better and len(part.places):
                found[f"{split}_{name}"] = difference(name, part, groups[part.places], level, samples)
    adjusted = holm({key: family_p(entry) for key, entry in found.items()})
    for key, entry in found.items():
        entry["p_holm"] = adjusted[key]
        entry["verdict"] = verdict(entry, measured[key.partition("_")[2]].measure.better, level)
    return {key: {k: v for k, v in entry.items() if v is not None} for key, entry in found.items()}


def difference(name: str, part: Compared, groups: np.ndarray, level: float, samples: int) -> dict:
    """The interval of one difference as an entry of claims.json."""
    entry = paired_statistic(part.statistics, part.measure.of, groups, level, samples)._asdict()
    if part.measure.binary:
        entry["p_mcnemar"] = mcnemar(*part.statistics[:, :, 0].T)
    if name == "contrast":
        entry["kept_low"] = kept_low(part, groups, level, samples)
    return entry | {"rows": len(part.places)}


def kept_low(part: Compared, groups: np.ndarray, level: float, samples: int) -> float | None:
    """The lower end of what the tuned model's contrast has above KEPT of the base's, and above 0; nats a token."""
    base, tuned = part.statistics[:, 0].copy(), part.statistics[:, 1]
    base[:, 0] *= KEPT
    above = paired_statistic(np.stack([base, tuned], axis=1), part.measure.of, groups, level, samples).low
    own = alone(tuned, part.measure.of, groups, level, samples)[0]
    return None if above is None or own is None else min(above, own)


def family_p(entry: dict) -> float | None:
    """What goes into Holm's family: of two tests the more careful one, for McNemar's knows no groups."""
    return None if entry["p"] is None else max(entry["p"], entry.get("p_mcnemar", 0.0))


def verdict(entry: dict, better: int, level: float) -> str:
    """`better`, `worse` or `undecided`."""
    if entry["p_holm"] is None or max(entry["p"], entry["p_holm"]) >= 1 - level:
        return "undecided"
    return "better" if entry["difference"] * better > 0 else "worse"


def claim(found: dict, level: float) -> dict:
    """The claim and its sentence, from the entries of `claims`."""
    gain = is_gain(found)
    return {"claim": "gain" if gain else "no gain", "claim_sentence": sentence(found, gain, level)}


def is_gain(found: dict) -> bool:
    """Whether the entries of `claims` bear the claim of a gain.

    A lower loss alone does not: training on answers that were shuffled among the questions lowers it as far, for it
    teaches how answers look. But it also teaches that the question does not matter, so the contrast goes down. A gain
    is a loss that is better while the contrast was kept for sure (`kept_low` above 0). That the contrast is not
    `worse` would be too little: few rows never show that. That it is `better` would be too much: who learns how
    answers look as well, guesses more of any answer without its question. `benchmarks.controls` has the figures.
    Raw texts have no questions: of them the loss is all there is.
    """
    loss, contrast = found.get("test_loss", {}), found.get("test_contrast")
    return loss.get("verdict") == "better" and (contrast is None or contrast.get("kept_low", 0) > 0)
