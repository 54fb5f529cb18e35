"""A verdict for a terminal and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelock.remote.repeats import is_number
from tunelock.remote.run_comparison import DIFFERENT, MetricDifference, StageComparison, Verdict

_STYLES = {"same": "dim", "differ": "red", "missing": "red"}
_MOST_METRICS = 20  # lines; --json has all


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The word, what was edited, the table of stages, where it begins, and what differs in metrics and environments."""
    style = "bold red" if verdict.word == DIFFERENT else "bold green"
    console.print(Text.assemble((f"{verdict.word.capitalize()}. ", style), verdict.reason))
    if verdict.cause:
        console.print(Text(verdict.cause))
    console.print(Text(f"\nmade on: {verdict.where[0]}\nagain on: {verdict.where[1]}\n", style="dim"))
    console.print(_tabulate_stages(verdict.stages))
    metrics = _list_metrics(verdict)
    if metrics:
        console.print()
        console.print(_tabulate_metrics(metrics[:_MOST_METRICS]))
    if len(metrics) > _MOST_METRICS:
        console.print(Text(f"{len(metrics) - _MOST_METRICS} more metrics differ; --json lists them.", style="dim"))
    if verdict.environment:
        console.print()
        console.print(_tabulate_environment(verdict))


def _list_metrics(verdict: Verdict) -> list[MetricDifference]:
    found = []
    for stage in verdict.stages:
        found += stage.metrics
    return found


def _tabulate_stages(stages: Sequence[StageComparison]) -> Table:
    """A line a stage, in the order in which they run."""
    table = Table("stage", "params", "code", "inputs", "outs", "metrics", box=None, header_style="bold", pad_edge=False)
    for stage in stages:
        if stage.missing:
            cells = ["missing"] * 4
        else:
            cells = ["differ" if keys else "same" for keys in (stage.params, stage.code, stage.inputs, stage.outs)]
        count = f"{len(stage.metrics)} differ" if stage.metrics else "same"
        table.add_row(stage.stage, *(Text(cell, style=_STYLES[cell]) for cell in cells), count)
    return table


def _tabulate_metrics(metrics: Sequence[MetricDifference]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("metric", overflow="fold")  # a name that is cut would stand for several
    for column in ("made", "again", "difference", "repeats"):
        table.add_column(column, no_wrap=True)
    for metric in metrics:
        both = is_number(metric.theirs) and is_number(metric.again)
        apart = f"{metric.again - metric.theirs:+.4g}" if both else ""
        spread = f"{metric.spread.lowest:.6g} to {metric.spread.highest:.6g}" if metric.spread else "not enough"
        table.add_row(metric.name, _format_value(metric.theirs), _format_value(metric.again), apart, spread)
    return table


def _format_value(value: Any) -> str:
    return f"{value:.6g}" if is_number(value) else str(value)


def _tabulate_environment(verdict: Verdict) -> Table:
    table = Table("environment", "made", "again", "stages", box=None, header_style="bold", pad_edge=False)
    for one in verdict.environment:
        stages = "all" if len(one.stages) == len(verdict.stages) else ", ".join(one.stages)
        table.add_row(one.what, one.theirs, one.again, stages)
    return table


def format_verdict(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain JSON, with every difference."""
    return {
        "verdict": verdict.word,
        "reason": verdict.reason,
        "first_stage": verdict.first,
        "cause": verdict.cause,
        "edited": [{"stage": one.stage, "path": one.path} for one in verdict.edited],
        "stages": [_format_stage(stage) for stage in verdict.stages],
        "environment": [one._asdict() | {"stages": list(one.stages)} for one in verdict.environment],
        "repeats": verdict.repeats,
        "made_on": verdict.where[0],
        "again_on": verdict.where[1],
    }


def _format_stage(stage: StageComparison) -> dict[str, Any]:
    found = stage._asdict() | {key: list(getattr(stage, key)) for key in ("params", "code", "inputs", "outs")}
    return found | {"metrics": [_format_metric(metric) for metric in stage.metrics]}


def _format_metric(metric: MetricDifference) -> dict[str, Any]:
    spread = list(metric.spread) if metric.spread else None
    return metric._asdict() | {"spread": spread, "noise": metric.is_noise}
