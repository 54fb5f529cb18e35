"""The first lines of the comment on a pull request: is it better, against what, and at what cost."""

import math

from tunelock.pull_request.facts import Facts
from tunelock.pull_request.markdown import code, level_of, number, percent, signed
from tunelock.pull_request.pairing import Comparison, relative
from tunelock.pull_request.thresholds import FAILED, PASSED, UNDECIDED, Line, finite, outcome

HEADLINES = {
    "better": "Better than {base} on the test split",
    "worse": "Worse than {base} on the test split",
    "undecided": "No difference from {base} that the test split can show",
    "too few groups": "Not told apart from {base}: the test split has too few groups",
    "unchanged": "The same test results as {base}",
}

GATE = {FAILED: "failed", UNDECIDED: "not decided"}


def verdict(facts: Facts) -> str:
    """Headline with the gate, and sentences: against BASE, against the base model, retention."""
    by_name = {(one.split, one.metric): one for one in facts.comparisons}
    test = by_name.get(("test", "loss"))
    headline = HEADLINES[test.verdict] if test else "Not compared with {base} row by row"
    lines = [f"### {headline.format(base=code(facts.base))}; {gate_words(facts.gate)}"]
    lines += [] if test else [facts.unpaired_because]
    lines += [loss_sentence(by_name[split, "loss"], facts.level) for split in splits(by_name)]
    contrast = by_name.get(("test", "contrast"))
    if test and contrast and test.verdict == "better" and contrast.verdict == "worse":
        lines.append("But it tells the right answer of a question from others less well (contrast): look at the style.")
    lines += [claim_sentence(facts), retention_sentence(facts)]
    title, *points = filter(None, lines)
    return "\n".join([title, "", *(f"- {point}" for point in points)])


def splits(by_name: dict) -> list[str]:
    """The splits whose loss was compared, in order."""
    return [split for split, metric in by_name if metric == "loss"]


def loss_sentence(one: Comparison, level: float) -> str:
    """Loss and perplexity of the tuned models of both commits."""
    was, now = (f"{math.exp(loss):,.2f}" for loss in (one.interval.base, one.interval.tuned))
    change, low, high = (percent(share) for share in relative(one))
    interval = f"; {level_of(level)} {low} to {high}" if one.interval.low is not None else ""
    return (
        f"**{one.split}: {one.verdict}.** Perplexity of the tuned model {was} → {now} ({change}{interval}), "
        f"{one.rows:,} rows in {one.interval.groups:,} groups."
    )


def claim_sentence(facts: Facts) -> str:
    """The claim against the base model, before and now; only known words and numbers of the files are used."""
    words = [claim.get("claim") if claim.get("claim") in ("gain", "no gain") else None for claim in facts.claims]
    if not words[1]:
        return ""
    loss = facts.claims[1].get("test_loss")
    loss = loss if isinstance(loss, dict) else {}
    difference, low, high = (finite(loss.get(key)) for key in ("difference", "low", "high"))
    shown = f" (test loss {signed(difference)}" if difference is not None else ""
    shown += f", {level_of(facts.level)} {signed(low)} to {signed(high)}" if shown and low is not None else ""
    before = f"; at {code(facts.base)}: {words[0] or 'no claim was made'}"
    return f"Against the base model: **{words[1]}**{shown + ')' * bool(shown)}{before}."


def retention_sentence(facts: Facts) -> str:
    """What is left of general ability."""
    values = facts.metrics.get("metrics/retention.json", {})
    new, low, high = (
        finite(values.get(key, {}).get("new")) for key in ("retention", "retention_low", "retention_high")
    )
    if new is None:
        return ""
    old = finite(values["retention"].get("old"))
    before = f"{number(old)} → " if old is not None else ""
    bounds = f", {level_of(facts.level)} {number(low)} to {number(high)}" if low is not None else ""
    return f"Retention of general ability: {before}{number(new)}{bounds}."


def gate_words(lines: list[Line]) -> str:
    """The gate in a few words, and what it fails at."""
    result = outcome(lines)
    at = ", ".join(code(line.metric) for line in lines if line.result == result)
    return "gate passed" if result == PASSED else f"gate {GATE[result]}: {at}"
