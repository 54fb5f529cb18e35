"""What the gate checks, line by line: the rules of params.yaml with what is known of their noise, and dvc.lock."""

from tunelock.pull_request.lock import LOCK, stale_entries
from tunelock.pull_request.markdown import code, level_of, number, percent, signed
from tunelock.pull_request.pairing import Comparison, relative
from tunelock.pull_request.thresholds import FAILED, PASSED, Line, Metrics, check, finite
from tunelock.run.revisions import read_file_at

SHOWN = 3  # entries of a stale lock


def gate_lines(rules: dict, metrics: Metrics, comparisons: list[Comparison], level: float) -> list[Line]:
    """The rules of params.yaml, and whether dvc.lock is to be believed."""
    return [*check(rules, metrics, notes(rules, metrics, comparisons, level)), lock_line()]


def notes(rules: dict, metrics: Metrics, comparisons: list[Comparison], level: float) -> dict[str, str]:
    """What is known of the noise of each metric that has a rule."""
    found = {}
    for one in comparisons:
        low, high = one.interval.low, one.interval.high
        if low is None:
            continue
        said = f"{level_of(level)} of the difference {signed(low)} to {signed(high)}: {one.verdict}"
        found[f"{one.split}_{one.metric}_tuned"] = said
        if one.metric == "loss":
            change, low, high = (percent(share) for share in relative(one))
            found[f"{one.split}_perplexity_tuned"] = f"{change}, {level_of(level)} {low} to {high}: {one.verdict}"
    for values in metrics.values():
        for name in rules:
            low, high = (finite(values.get(f"{name}_{end}", {}).get("new")) for end in ("low", "high"))
            if low is not None and high is not None:
                found[name] = f"{level_of(level)} {number(low)} to {number(high)}"
    return found


def lock_line() -> Line:
    """Passed if everything that is here is as dvc.lock has it."""
    stale = sorted({entry.partition(": ")[2] for entry in stale_entries()})
    more = f" and {len(stale) - SHOWN} more" if len(stale) > SHOWN else ""
    told = f"{', '.join(code(entry) for entry in stale[:SHOWN])}{more}; run `dvc repro`, commit `{LOCK}` and `metrics/`"
    return Line(LOCK, "comes from this code, params and metrics", None, None, *((FAILED, told) if stale else (PASSED,)))


def gate_note(rules: dict, commit: str) -> str:
    """A remark if the gate itself changed."""
    from ruamel.yaml import YAML

    before = YAML(typ="safe", pure=True).load(read_file_at(commit, "params.yaml") or "{}") or {}
    return "The rules of the gate are not those of the other commit." if before.get("gate") != rules else ""
