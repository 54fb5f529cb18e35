"""Repeats of one training that differ in the seed: how far do their metrics lie apart?"""

import json
import statistics
from typing import NamedTuple

from tunelock.pull_request.markdown import format_code, format_number, format_table
from tunelock.pull_request.thresholds import keep_finite

SEED = "params.yaml:seed"
WORKSPACE = "workspace"


class SeedRun(NamedTuple):
    """One experiment. params: by `file:key`; code: the hash of each dependency that is code; why_not: what failed."""

    name: str
    params: dict
    code: dict
    metrics: dict
    why_not: str


class Spread(NamedTuple):
    """One metric over the runs that have it. deviation: the sample's (n - 1), None for one run; effect: base - tuned"""

    metric: str
    count: int  # type: ignore[assignment]  # it stands before the method of a tuple
    mean: float
    deviation: float | None
    low: float
    high: float
    effect: float | None
    missing: list[str]


def list_runs(shown: list[dict], workspace: bool) -> list[SeedRun]:
    """The runs in what `dvc exp show --json` prints, the workspace's last, if it is to count.

    One that is the same as another in params, code and metrics, as a workspace is the commit it was checked out from,
    is there once.
    """
    found = [_read_run(entry, None) for entry in shown if workspace or entry["rev"] != WORKSPACE]
    for entry in shown:
        for experiment in entry.get("experiments") or []:
            executor = (experiment.get("executor") or {}).get("state")
            found += [_read_run(revision, executor) for revision in (experiment.get("revs") or [])[:1]]
    known, runs = set(), []
    for run in sorted(found, key=lambda run: run.name == WORKSPACE):
        same = json.dumps([run.params, run.code, run.metrics, run.why_not], sort_keys=True)
        runs += [run] if same not in known else []
        known.add(same)
    return runs


def _read_run(entry: dict, state: str | None) -> SeedRun:
    """One entry of `dvc exp show --json`; state: of its executor, such as `queued` or `failed`."""
    data, short = entry.get("data") or {}, entry["rev"] if entry["rev"] == WORKSPACE else entry["rev"][:7]
    error = (entry.get("error") or {}).get("msg", "")
    why_not = state if state and state.lower() != "success" else error
    params, metrics = {}, {}
    for file, values in _read_files(data.get("params")).items():
        params |= {f"{file}:{key}": value for key, value in values.items()}
    for values in _read_files(data.get("metrics")).values():
        metrics |= values
    hashes = {path: dep.get("hash") for path, dep in (data.get("deps") or {}).items() if path.endswith(".py")}
    return SeedRun(entry.get("name") or short, params, hashes, metrics, why_not or "")


def _read_files(shown: dict | None) -> dict[str, dict]:
    """The values, flattened with dots, of each file that could be read."""
    return {file: flatten_values(content["data"]) for file, content in (shown or {}).items() if content.get("data")}


def flatten_values(values: dict, before: str = "") -> dict:
    """{"a": {"b": 1}} as {"a.b": 1}; lists stay as they are."""
    found = {}
    for key, value in values.items():
        name = f"{before}{key}"
        found |= flatten_values(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def group_runs(runs: list[SeedRun]) -> list[list[SeedRun]]:
    """Runs of the same code that share every param but the seed, the largest group first."""
    groups = {}
    for run in runs:
        others = {key: value for key, value in run.params.items() if key != SEED}
        groups.setdefault(json.dumps([others, run.code], sort_keys=True), []).append(run)
    return sorted(groups.values(), key=lambda group: -len(group))


def measure_spread(runs: list[SeedRun], metric: str) -> Spread | None:
    """One metric over runs, None if none of them has it."""
    values = [keep_finite(run.metrics.get(metric)) for run in runs]
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    return Spread(
        metric=metric,
        count=len(numbers),
        mean=statistics.fmean(numbers),
        deviation=statistics.stdev(numbers) if len(numbers) > 1 else None,
        low=min(numbers),
        high=max(numbers),
        effect=_measure_effect(runs, metric),
        missing=[run.name for run, value in zip(runs, values) if value is None],
    )


def _measure_effect(runs: list[SeedRun], metric: str) -> float | None:
    """The mean of base - tuned over the runs, for a metric that ends in `_tuned` and has a `_base` beside it."""
    if not metric.endswith("_tuned"):
        return None
    base_metric, gains = f"{metric.removesuffix('_tuned')}_base", []
    for run in runs:
        base, tuned = keep_finite(run.metrics.get(base_metric)), keep_finite(run.metrics.get(metric))
        if base is not None and tuned is not None:
            gains.append(base - tuned)
    return statistics.fmean(gains) if gains else None


def format_spreads(spreads: list[Spread]) -> str:
    """The table of one group, in Markdown."""
    header = ["metric", "n", "mean", "spread", "min", "max", "base - tuned", "spread beside it"]
    return format_table(header, [_format_spread(one) for one in spreads])


def _format_spread(one: Spread) -> list[str]:
    """The cells of one metric; the last is the spread as a share of the effect."""
    known = one.deviation is not None and one.effect
    return [
        format_code(one.metric), str(one.count), format_number(one.mean), format_number(one.deviation, 3),
        format_number(one.low), format_number(one.high), format_number(one.effect),
        f"{100 * abs(one.deviation / one.effect):.1f} %" if known else "-",
    ]  # fmt: skip


def name_differences(group: list[SeedRun], first: list[SeedRun]) -> str:
    """How the params of a group differ from those of the first one."""
    here, there = group[0].params, first[0].params
    changed = []
    for key in sorted(here.keys() | there.keys()):
        if key != SEED and here.get(key) != there.get(key):
            changed.append(format_code(f"{key.removeprefix('params.yaml:')}={here.get(key)}"))
    return ", ".join(changed) or "other code"
