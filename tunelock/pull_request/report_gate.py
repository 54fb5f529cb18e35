"""The gate for the report: what it says of the results that are here, or why it was not checked."""

from tunelock.pull_request.gate import check_gate
from tunelock.pull_request.markdown import format_six_digits
from tunelock.pull_request.thresholds import GateLine, judge_gate
from tunelock.pull_request.two_commits import compare_with_base
from tunelock.report.parts import GateCheck, GatePart
from tunelock.run.errors import Stop


def view_gate(base: str = "main") -> GatePart:
    """The gate against a revision; not checked where there is no git, no such revision or no rule."""
    try:
        found = compare_with_base(base)
        lines = check_gate(found)
    except Stop as stop:
        return GatePart(base, "not checked", [], str(stop))
    return GatePart(base, judge_gate(lines), [_view_line(line, base) for line in lines], "")


def _view_line(line: GateLine, base: str) -> GateCheck:
    """A check in words."""
    value = "" if line.value is None else format_six_digits(line.value)
    before = "" if line.base is None else f"{line.owner or base} has {format_six_digits(line.base)}"
    remark = "; ".join(part for part in (before, line.note.replace("`", "")) if part)
    return GateCheck(line.metric, line.rule, value, line.result, remark)
