"""The claim in words: what was found, how sure it is, and what could have been found."""


def sentence(found: dict, gain: bool, level: float) -> str:
    """The claim's sentence from the entries of metrics/claims.json (see `tunelock.claims.claims`)."""
    loss = found.get("test_loss")
    if loss is None:
        return "No gain is claimed: there are no test rows."
    opening = "" if gain else f"No gain is claimed: {why_not(found)}. "
    verb = "raised" if loss["difference"] > 0 else "lowered" if loss["difference"] < 0 else "left"
    change = f"Tuning {verb} the loss on test from {loss['base']:.3f} to {loss['tuned']:.3f} nats a token"
    parts = [f"{opening}{change} ({shown(loss, level)})", contrast_says(found), golden_says(found)]
    return "; ".join(filter(None, parts)) + "." + power(found)


def shown(entry: dict, level: float | None = None) -> str:
    """`-0.732, 95 % interval -0.801 to -0.663, 200 rows of 74 groups`."""
    named = f"{100 * level:g} % interval " if level else ""
    bounds = f"{named}{entry['low']:+.3f} to {entry['high']:+.3f}" if "low" in entry else "no interval"
    return f"{entry['difference']:+.3f}, {bounds}, {entry['rows']} rows of {entry['groups']} groups"


def why_not(found: dict) -> str:
    """The first thing that stands against a gain."""
    loss = found["test_loss"]
    if loss["verdict"] == "worse":
        return "the tuned model is worse than the base"
    if loss["verdict"] == "undecided":
        few = "low" not in loss
        return "the test rows are of too few groups to tell" if few else "the difference on test may be chance"
    return "the loss fell, but training on shuffled answers, which teaches no more than how answers look, might have " \
           "done that too"  # fmt: skip


def contrast_says(found: dict) -> str:
    """What became of the contrast, the nats a token by which an answer is likelier under its own question."""
    contrast = found.get("test_contrast")
    if contrast is None:
        return ""
    kept = "was kept" if contrast.get("kept_low", 0) > 0 else "was not kept for sure"
    return f"by how much an answer is likelier under its own question than under another one {kept} " \
           f"({contrast['base']:.3f} to {contrast['tuned']:.3f}: {shown(contrast)})"  # fmt: skip


def golden_says(found: dict) -> str:
    """Whether the golden set agrees with test about the loss."""
    golden, loss = found.get("golden_loss"), found["test_loss"]
    if golden is None:
        return "there is no golden set to ask"
    if golden["verdict"] == "undecided":
        return f"the golden set leaves it open ({shown(golden)})"
    agrees = "agrees" if golden["verdict"] == loss["verdict"] else "says otherwise"
    return f"the golden set {agrees} ({shown(golden)})"


def power(found: dict) -> str:
    """The smallest effects that could have been seen."""
    limits = [
        f"{found[f'{split}_loss']['smallest_effect']:.3f} on {split}"
        for split in ("test", "golden")
        if "smallest_effect" in found.get(f"{split}_loss", {})
    ]
    return f" With 80 % power a change of {' and of '.join(limits)} would have been found." if limits else ""
