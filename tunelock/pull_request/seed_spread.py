"""Repeats of one training that differ in the seed: how far do their metrics lie apart?"""

import json
import statistics
from typing import NamedTuple

from tunelock.pull_request.markdown import code, number, table
from tunelock.pull_request.thresholds import finite

SEED = "params.yaml:seed"
WORKSPACE = "workspace"


class Run(NamedTuple):
    """One experiment. params: by `file:key`; code: the hash of each dependency that is code; why_not: what failed."""

    name: str
    params: dict
    code: dict
    metrics: dict
    why_not: str


class Spread(NamedTuple):
    """One metric over the runs that have it. deviation: the sample's (n - 1), None for one run; effect: base - tuned"""

    metric: str
    count: int
    mean: float
    deviation: float | None
    low: float
    high: float
    effect: float | None
    missing: list[str]


def runs_of(shown: list[dict], workspace: bool) -> list[Run]:
    """The runs in what `dvc exp show --json` prints, the workspace's last, if it is to count.

    One that is the same as another in params, code and metrics, as a workspace is the commit it was checked out from,
    is there once.
    """
    found = [run_of(entry, None) for entry in shown if workspace or entry["rev"] != WORKSPACE]
    for entry in shown:
        for experiment in entry.get("experiments") or []:
            executor = (experiment.get("executor") or {}).get("state")
            found += [run_of(revision, executor) for revision in experiment.get("revs") or []][:1]
    known, runs = set(), []
    for run in sorted(found, key=lambda run: run.name == WORKSPACE):
        same = json.dumps([run.params, run.code, run.metrics, run.why_not], sort_keys=True)
        runs += [run] if same not in known else []
        known.add(same)
    return runs


def run_of(entry: dict, state: str | None) -> Run:
    """One entry of `dvc exp show --json`; state: of its executor, such as `queued` or `failed`."""
    data, short = entry.get("data") or {}, entry["rev"] if entry["rev"] == WORKSPACE else entry["rev"][:7]
    error = (entry.get("error") or {}).get("msg", "")
    why_not = state if state and state.lower() != "success" else error
    params = {f"{file}:{key}": value for file, values in files(data.get("params")) for key, value in values.items()}
    metrics = {key: value for _, values in files(data.get("metrics")) for key, value in values.items()}
    hashes = {path: dep.get("hash") for path, dep in (data.get("deps") or {}).items() if path.endswith(".py")}
    return Run(entry.get("name") or short, params, hashes, metrics, why_not or "")


def files(of: dict | None) -> list[tuple[str, dict]]:
    """(file, its values flattened with dots) of the files that could be read."""
    return [(file, flat(content["data"])) for file, content in (of or {}).items() if content.get("data")]


def flat(values: dict, before: str = "") -> dict:
    """{"a": {"b": 1}} as {"a.b": 1}; lists stay as they are."""
    found = {}
    for key, value in values.items():
        name = f"{before}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def grouped(runs: list[Run]) -> list[list[Run]]:
    """Runs of the same code that share every param but the seed, the largest group first."""
    groups = {}
    for run in runs:
        others = {key: value for key, value in run.params.items() if key != SEED}
        groups.setdefault(json.dumps([others, run.code], sort_keys=True), []).append(run)
    return sorted(groups.values(), key=lambda group: -len(group))


def spread(runs: list[Run], metric: str) -> Spread | None:
    """One metric over runs, None if none of them has it."""
    values = [(run, finite(run.metrics.get(metric))) for run in runs]
    numbers = [value for _, value in values if value is not None]
    if not numbers:
        return None
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    missing = [run.name for run, value in values if value is None]
    return Spread(
        metric, len(numbers), statistics.fmean(numbers), deviation, min(numbers), max(numbers),
        effect(runs, metric), missing,
    )  # fmt: skip


def effect(runs: list[Run], metric: str) -> float | None:
    """The mean of base - tuned over the runs, for a metric that ends in `_tuned` and has a `_base` beside it."""
    base = f"{metric.removesuffix('_tuned')}_base"
    pairs = [(finite(run.metrics.get(base)), finite(run.metrics.get(metric))) for run in runs]
    found = [before - after for before, after in pairs if before is not None and after is not None]
    return statistics.fmean(found) if metric.endswith("_tuned") and found else None


def spread_table(spreads: list[Spread]) -> str:
    """The table of one group, in Markdown."""
    header = ["metric", "n", "mean", "spread", "min", "max", "base - tuned", "spread beside it"]
    return table(header, [
        [code(one.metric), str(one.count), number(one.mean), number(one.deviation, 3),
         number(one.low), number(one.high), number(one.effect), beside(one)]
        for one in spreads
    ])  # fmt: skip


def beside(one: Spread) -> str:
    """The spread as a share of the effect."""
    return f"{100 * abs(one.deviation / one.effect):.1f} %" if one.deviation is not None and one.effect else "-"


def differences(group: list[Run], first: list[Run]) -> str:
    """How the params of a group differ from those of the first one."""
    here, there = group[0].params, first[0].params
    keys = sorted(key for key in here.keys() | there.keys() if key != SEED and here.get(key) != there.get(key))
    return ", ".join(code(f"{key.removeprefix('params.yaml:')}={here.get(key)}") for key in keys) or "other code"
