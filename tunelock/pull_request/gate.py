"""What the gate checks, line by line: the rules of params.yaml with what is known of their noise, and dvc.lock."""

from tunelock.pull_request.likeness import Likeness
from tunelock.pull_request.lock import LOCK, list_stale
from tunelock.pull_request.markdown import format_code, format_level, format_number, format_percent, format_signed
from tunelock.pull_request.pairing import Comparison, measure_relative_change
from tunelock.pull_request.thresholds import FAILED, PASSED, GateLine, MetricsDiff, check_rules, keep_finite
from tunelock.pull_request.two_commits import TwoCommits
from tunelock.run.revisions import read_file_at

SHOWN = 3  # entries of a stale lock
WITH_INTERVAL = ("retention", "general_contrast_change")  # has one wherever there are groups enough


def check_gate(found: TwoCommits) -> list[GateLine]:
    """The rules of params.yaml, and whether dvc.lock is to be believed."""
    pairs = _describe_pairs(found.rows.comparisons, found.level, found.likeness)
    notes = pairs | _describe_intervals(found.rules, found.metrics, found.level)
    return [*check_rules(found.rules, found.metrics, notes, found.likeness), check_lock()]


def _describe_pairs(comparisons: list[Comparison], level: float, likeness: Likeness) -> dict[str, str]:
    """What the rows in pairs say about the noise of each metric that they measure."""
    notes = {}
    for one in comparisons:
        low, high = one.interval.low, one.interval.high
        if low is None:
            continue
        name, bounds = f"{one.split}_{one.metric}_tuned", f"{format_signed(low)} to {format_signed(high)}"
        among = f"on the {one.rows:,} rows of both " if likeness.explain(name) else ""
        notes[name] = f"{among}{format_level(level)} of the difference {bounds}: {one.verdict}"
        if one.metric == "loss":
            change, least, most = map(format_percent, measure_relative_change(one))
            note = f"{among}{change}, {format_level(level)} {least} to {most}: {one.verdict}"
            notes[f"{one.split}_perplexity_tuned"] = note
    return notes


def _describe_intervals(rules: dict, metrics: MetricsDiff, level: float) -> dict[str, str]:
    """The interval of each metric that has a rule and NAME_low and NAME_high beside it, or that it has none."""
    notes = {}
    for values in metrics.values():
        for name in rules:
            low, high = (keep_finite(values.get(f"{name}_{end}", {}).get("new")) for end in ("low", "high"))
            if low is not None and high is not None:
                notes[name] = f"{format_level(level)} {format_number(low)} to {format_number(high)}"
            elif name in WITH_INTERVAL and values.get(name, {}).get("new") is not None:
                notes[name] = "the general questions are of too few groups for an interval"
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


def note_changed_rules(found: TwoCommits) -> str:
    """Remarks: the gate itself changed, has no rules, or there is nothing yet to hold this commit against."""
    from ruamel.yaml import YAML

    before = YAML(typ="safe", pure=True).load(read_file_at(found.commit, "params.yaml") or "{}") or {}
    remarks = []
    if found.likeness.is_first:
        remarks.append(
            "The other commit has no metrics: this is the first result. Rules with `main` hold the tuned model against "
            "the base model on the same rows."
        )
    elif before.get("gate") != found.rules:
        remarks.append("The rules of the gate are not those of the other commit.")
    if not found.rules:
        remarks.append("params.yaml has no rules below `gate`; `test_perplexity_tuned: <= main` is one to begin with.")
    return " ".join(remarks)
