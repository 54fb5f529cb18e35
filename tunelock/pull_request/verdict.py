"""The first lines of the comment on a pull request: is it better, against what, and at what cost."""

import math

from tunelock.pull_request.facts import Facts
from tunelock.pull_request.markdown import format_code, format_level, format_number, format_percent, format_signed
from tunelock.pull_request.pairing import Comparison, measure_relative_change
from tunelock.pull_request.thresholds import FAILED, PASSED, UNDECIDED, GateLine, judge_gate, keep_finite

HEADLINES = {
    "better": "Better than {base} on {rows}",
    "worse": "Worse than {base} on {rows}",
    "undecided": "No difference from {base} that {rows} can show",
    "too few groups": "Not told apart from {base}: too few groups in {rows}",
    "unchanged": "The same results as {base} on {rows}",
}
ALL, COMMON = "the test split", "the test rows that both have"
OTHER_STYLE = "But it tells the right answer of a question from others less well (contrast): look at the style."
GATE = {FAILED: "failed", UNDECIDED: "not decided"}


def compose_verdict(facts: Facts) -> str:
    """Headline with the gate, and sentences: against BASE, against the base model, retention."""
    by_name = {(one.split, one.metric): one for one in facts.comparisons}
    test, contrast = by_name.get(("test", "loss")), by_name.get(("test", "contrast"))
    headline = HEADLINES[test.verdict] if test else "Not compared with {base} row by row"
    rows = COMMON if facts.likeness.explain("test_loss_tuned") else ALL
    title = f"### {headline.format(base=format_code(facts.base), rows=rows)}; {_describe_gate(facts.gate)}"
    points = [] if test else [facts.unpaired_because]
    points += [_describe_loss(one, facts.level) for one in facts.comparisons if one.metric == "loss"]
    if test and contrast and test.verdict == "better" and contrast.verdict == "worse":
        points.append(OTHER_STYLE)
    points += [_describe_claim(facts), _describe_retention(facts)]
    return "\n".join([title, "", *(f"- {point}" for point in points if point)])


def _describe_loss(one: Comparison, level: float) -> str:
    """Loss and perplexity of the tuned models of both commits."""
    was, now = (f"{math.exp(loss):,.2f}" for loss in (one.interval.base, one.interval.tuned))
    change, low, high = map(format_percent, measure_relative_change(one))
    interval = f"; {format_level(level)} {low} to {high}" if one.interval.low is not None else ""
    return (
        f"**{one.split}: {one.verdict}.** Perplexity of the tuned model {was} → {now} ({change}{interval}), "
        f"{one.rows:,} rows in {one.interval.groups:,} groups."
    )


def _describe_claim(facts: Facts) -> str:
    """The claim against the base model, before and now; only known words and numbers of the files are used."""
    before, now = _read_claim(facts.base_claims), _read_claim(facts.claims)
    if not now:
        return ""
    loss = facts.claims.get("test_loss")
    loss = loss if isinstance(loss, dict) else {}
    difference, low, high = (keep_finite(loss.get(key)) for key in ("difference", "low", "high"))
    bounds = f", {format_level(facts.level)} {format_signed(low)} to {format_signed(high)}" if low is not None else ""
    shown = f" (test loss {format_signed(difference)}{bounds})" if difference is not None else ""
    there = f"at {format_code(facts.base)}: {before or 'no claim was made'}"
    return f"Against the base model: **{now}**{shown}; {there}."


def _read_claim(claims: dict) -> str | None:
    """The claim of a metrics/claims.json, None if there is none that we know."""
    claim = claims.get("claim")
    return claim if claim in ("gain", "no gain") else None


def _describe_retention(facts: Facts) -> str:
    """What is left of general ability."""
    values = facts.metrics.get("metrics/retention.json", {})
    keys = ("retention", "retention_low", "retention_high")
    new, low, high = (keep_finite(values.get(key, {}).get("new")) for key in keys)
    if new is None:
        return ""
    old = None if facts.likeness.explain("retention") else keep_finite(values["retention"].get("old"))
    before = f"{format_number(old)} → " if old is not None else ""
    bounds = f", {format_level(facts.level)} {format_number(low)} to {format_number(high)}" if low is not None else ""
    return f"Retention of general ability: {before}{format_number(new)}{bounds}."


def _describe_gate(lines: list[GateLine]) -> str:
    """The gate in a few words, and what it fails at."""
    result = judge_gate(lines)
    if result == PASSED:
        return "gate passed"
    return f"gate {GATE[result]}: {', '.join(format_code(line.metric) for line in lines if line.result == result)}"
