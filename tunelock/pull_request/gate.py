"""What the gate checks, line by line: the rules of params.yaml with what is known of their noise, and dvc.lock."""

from tunelock.pull_request.lock import LOCK, list_stale
from tunelock.pull_request.markdown import format_code, format_level, format_number, format_percent, format_signed
from tunelock.pull_request.pairing import Comparison, measure_relative_change
from tunelock.pull_request.thresholds import FAILED, PASSED, GateLine, MetricsDiff, check_rules, keep_finite
from tunelock.run.revisions import read_file_at

SHOWN = 3  # entries of a stale lock


def check_gate(rules: dict, metrics: MetricsDiff, comparisons: list[Comparison], level: float) -> list[GateLine]:
    """The rules of params.yaml, and whether dvc.lock is to be believed."""
    notes = _describe_pairs(comparisons, level) | _describe_intervals(rules, metrics, level)
    return [*check_rules(rules, metrics, notes), check_lock()]


def _describe_pairs(comparisons: list[Comparison], level: float) -> dict[str, str]:
    """What the rows in pairs say about the noise of each metric that they measure."""
    notes = {}
    for one in comparisons:
        low, high = one.interval.low, one.interval.high
        if low is None:
            continue
        bounds = f"{format_signed(low)} to {format_signed(high)}"
        notes[f"{one.split}_{one.metric}_tuned"] = f"{format_level(level)} of the difference {bounds}: {one.verdict}"
        if one.metric == "loss":
            change, least, most = map(format_percent, measure_relative_change(one))
            note = f"{change}, {format_level(level)} {least} to {most}: {one.verdict}"
            notes[f"{one.split}_perplexity_tuned"] = note
    return notes


def _describe_intervals(rules: dict, metrics: MetricsDiff, level: float) -> dict[str, str]:
    """The interval of each metric that has a rule and NAME_low and NAME_high beside it."""
    notes = {}
    for values in metrics.values():
        for name in rules:
            low, high = (keep_finite(values.get(f"{name}_{end}", {}).get("new")) for end in ("low", "high"))
            if low is not None and high is not None:
                notes[name] = f"{format_level(level)} {format_number(low)} to {format_number(high)}"
    return notes


def check_lock() -> GateLine:
    """Passed if everything that is here is as dvc.lock has it."""
    rule = "comes from this code, params and metrics"
    stale = sorted({entry.partition(": ")[2] for entry in list_stale()})
    if not stale:
        return GateLine(LOCK, rule, None, None, PASSED)
    shown = ", ".join(format_code(entry) for entry in stale[:SHOWN])
    more = f" and {len(stale) - SHOWN} more" if len(stale) > SHOWN else ""
    note = f"{shown}{more}; run `dvc repro`, commit `{LOCK}` and `metrics/`"
    return GateLine(LOCK, rule, None, None, FAILED, note)


def note_changed_rules(rules: dict, commit: str) -> str:
    """A remark if the gate itself changed."""
    from ruamel.yaml import YAML

    before = YAML(typ="safe", pure=True).load(read_file_at(commit, "params.yaml") or "{}") or {}
    return "The rules of the gate are not those of the other commit." if before.get("gate") != rules else ""
