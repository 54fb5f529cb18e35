"""How much of a result is the seed, in words and tables: mean, spread and range of each metric over repeats."""

from tunelock.metrics.registry import list_table_metrics
from tunelock.pull_request.seed_spread import (
    SEED,
    SeedRun,
    Spread,
    format_spreads,
    group_runs,
    measure_spread,
    name_differences,
)
from tunelock.records.scored_row import HELD_OUT
from tunelock.run.errors import Stop


def list_default_metrics() -> list[str]:
    """What is compared if nothing is asked for: the rows of the result table, and what was forgotten."""
    names = []
    for split in HELD_OUT:
        names += [f"{split}_{metric.name}_tuned" for metric in list_table_metrics()]
    return [*names, "retention"]


def _select_groups(runs: list[SeedRun], remarks: list[str]) -> list[list[SeedRun]]:
    """The finished runs that share all params but the seed, the largest group first.

    Raises:
        Stop: no two can be compared.
    """
    groups = group_runs([run for run in runs if not run.why_not])
    if not groups or len(groups[0]) < 2:
        left_out = " ".join([*remarks, *_name_failed(runs)])
        raise Stop(f"no two finished runs differ in the seed alone; run `dvc exp run -S seed=1`. {left_out}".strip())
    return groups


def report_seeds(runs: list[SeedRun], metrics: list[str], remarks: list[str]) -> str:
    """Everything that is printed; a run that failed, still waits, or lacks a metric is named."""
    groups = _select_groups(runs, remarks)
    lines = []
    for group in groups:
        if len(group) > 1:
            lines += _describe_group(group, groups[0], metrics)
    for group in groups:
        if len(group) < 2:
            lines.append(f"{group[0].name}: alone with its params ({name_differences(group, groups[0])}).")
    return "\n".join([*lines, *_name_failed(runs), *remarks]).rstrip()


def tabulate_seeds(runs: list[SeedRun], metrics: list[str], remarks: list[str]) -> dict:
    """The same for a script: each group with its seeds, params that set it apart, and figures by metric."""
    groups = _select_groups(runs, remarks)
    rows = []
    for group in groups:
        figures = {one.metric: _list_figures(one) for one in _measure_spreads(group, metrics)}
        apart = name_differences(group, groups[0]) if group is not groups[0] else ""
        rows.append(
            {"runs": [run.name for run in group], "seeds": _list_seeds(group), "with": apart, "metrics": figures}
        )
    return {"groups": rows, "left_out": _name_failed(runs), "remarks": remarks}


def _describe_group(group: list[SeedRun], first: list[SeedRun], metrics: list[str]) -> list[str]:
    """The lines on one group of runs: seeds, table, and what is missing."""
    title = f"{len(group)} runs, seeds {', '.join(map(str, _list_seeds(group)))}"
    title += f", with {name_differences(group, first)}" if group is not first else ""
    found = _measure_spreads(group, metrics)
    lines = [title, "", format_spreads(found), ""]
    measured = {one.metric for one in found}
    absent = [metric for metric in metrics if metric not in measured]
    lines += [f"No run has {', '.join(absent)}."] if absent else []
    lines += [f"{one.metric} is missing in {', '.join(one.missing)}." for one in found if one.missing]
    return [*lines, ""]


def _measure_spreads(group: list[SeedRun], metrics: list[str]) -> list[Spread]:
    """The spread of each metric that a run of the group has."""
    return [one for metric in metrics if (one := measure_spread(group, metric))]


def _list_seeds(group: list[SeedRun]) -> list:
    return sorted((run.params.get(SEED) for run in group), key=str)


def _list_figures(one: Spread) -> dict:
    return {key: value for key, value in one._asdict().items() if key != "metric"}


def _name_failed(runs: list[SeedRun]) -> list[str]:
    return [f"{run.name}: not counted, {run.why_not}." for run in runs if run.why_not]
