"""The claim in words: what was found, how sure it is, and what could have been found."""

from tunelock.metrics.metric import Metric
from tunelock.metrics.registry import METRICS
from tunelock.records.scored_row import HELD_OUT


def write_claim_sentence(entries: dict[str, dict], gain: bool, level: float) -> str:
    """The claim's sentence from the entries of metrics/claims.json (see `tunelock.claims.claims`)."""
    loss = entries.get("test_loss")
    if loss is None:
        return "No gain is claimed: there are no test rows."
    opening = "" if gain else f"No gain is claimed: {_say_why_not(entries)}. "
    verb = "raised" if loss["difference"] > 0 else "lowered" if loss["difference"] < 0 else "left"
    change = f"Tuning {verb} the loss on test from {loss['base']:.3f} to {loss['tuned']:.3f} nats a token"
    parts = [f"{opening}{change} ({_format_difference(loss, level)})", _say_contrast(entries), _say_golden(entries)]
    return "; ".join(filter(None, parts)) + "." + _say_power(entries) + _say_floors(entries)


def _format_difference(entry: dict, level: float | None = None) -> str:
    """`-0.732, 95 % interval -0.801 to -0.663, 200 rows of 74 groups`."""
    named = f"{100 * level:g} % interval " if level else ""
    bounds = f"{named}{entry['low']:+.3f} to {entry['high']:+.3f}" if "low" in entry else "no interval"
    return f"{entry['difference']:+.3f}, {bounds}, {entry['rows']} rows of {entry['groups']} groups"


def _say_why_not(entries: dict[str, dict]) -> str:
    """The first thing that stands against a gain."""
    loss = entries["test_loss"]
    if loss["verdict"] == "worse":
        return "the tuned model is worse than the base"
    if loss["verdict"] == "undecided":
        few = "low" not in loss
        return "the test rows are of too few groups to tell" if few else "the difference on test may be chance"
    return "the loss fell, but training on shuffled answers, which teaches no more than how answers look, might have " \
           "done that too"  # fmt: skip


def _say_contrast(entries: dict[str, dict]) -> str:
    """What became of the contrast, the nats a token by which an answer is likelier under its own question."""
    contrast = entries.get("test_contrast")
    if contrast is None:
        return ""
    kept = "was kept" if contrast.get("kept_low", 0) > 0 else "was not kept for sure"
    return f"by how much an answer is likelier under its own question than under another one {kept} " \
           f"({contrast['base']:.3f} to {contrast['tuned']:.3f}: {_format_difference(contrast)})"  # fmt: skip


def _say_golden(entries: dict[str, dict]) -> str:
    """Whether the golden set agrees with test about the loss."""
    golden, loss = entries.get("golden_loss"), entries["test_loss"]
    if golden is None:
        return "there is no golden set to ask"
    if golden["verdict"] == "undecided":
        return f"the golden set leaves it open ({_format_difference(golden)})"
    agrees = "agrees" if golden["verdict"] == loss["verdict"] else "says otherwise"
    return f"the golden set {agrees} ({_format_difference(golden)})"


def _say_power(entries: dict[str, dict]) -> str:
    """The smallest effects that could have been seen."""
    limits = []
    for split in ("test", "golden"):
        effect = entries.get(f"{split}_loss", {}).get("smallest_effect")
        limits += [] if effect is None else [f"{effect:.3f} on {split}"]
    return f" With 80 % power a change of {' and of '.join(limits)} would have been found." if limits else ""


def _say_floors(entries: dict[str, dict]) -> str:
    """The accuracies of the tuned model that are not above what it takes no model for."""
    found = []
    for split in HELD_OUT:
        for metric in METRICS.values():
            found += _find_floor(metric, split, entries.get(f"{split}_{metric.name}", {}))
    return f" Not above what takes no model: {'; '.join(found)}." if found else ""


def _find_floor(metric: Metric, split: str, entry: dict) -> list[str]:
    """The highest floor of a metric in words if the tuned model is not above it, else nothing."""
    floors = entry.get("floors", {})
    words = {floor.metric: floor.words for floor in metric.floors}
    for name in sorted(floors, key=floors.get, reverse=True)[:1]:
        if entry["tuned"] <= floors[name]:
            shown, figures = metric.name.replace("_", " "), f"{entry['tuned']:.3f}, {words[name]} {floors[name]:.3f}"
            return [f"{shown} on {split} ({figures})"]
    return []
