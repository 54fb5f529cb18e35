"""How much of a result is the seed: repeats of `dvc exp run -S seed=…` in one table.

    dvc exp run --queue -S 'seed=1,2,3,4' && dvc queue start     # the repeats
    python -m tunelock.commands.seeds [--metrics test_perplexity_tuned …] [--all-commits]

Groups the runs that share all params but `seed`, those of this commit and the workspace (with `--all-commits`: of every
commit), and prints mean, spread (the sample's standard deviation) and range of each metric, and the spread beside the
effect, base - tuned. A run that failed, still waits, or lacks a metric is named.
"""

import argparse

from tunelock.pull_request.lock import list_stale
from tunelock.pull_request.markdown import escape_unprintable
from tunelock.pull_request.seed_spread import (
    SEED,
    SeedRun,
    format_spreads,
    group_runs,
    list_runs,
    measure_spread,
    name_differences,
)
from tunelock.run.errors import Stop
from tunelock.run.revisions import run_dvc_json
from tunelock.run.stage import plain_errors

METRICS = (
    "test_perplexity_tuned",
    "golden_perplexity_tuned",
    "test_contrast_tuned",
    "test_accuracy_tuned",
    "golden_accuracy_tuned",
    "test_rouge_l_tuned",
    "retention",
)


def told(group: list[SeedRun], first: list[SeedRun], metrics: list[str]) -> list[str]:
    """The lines on one group of runs: seeds, table, and what is missing."""
    seeds = ", ".join(sorted(str(run.params.get(SEED)) for run in group))
    title = f"{len(group)} runs, seeds {seeds}"
    title += f", with {name_differences(group, first)}" if group is not first else ""
    found = [one for metric in metrics if (one := measure_spread(group, metric))]
    lines = [title, "", format_spreads(found), ""]
    absent = [metric for metric in metrics if metric not in {one.metric for one in found}]
    lines += [f"No run has {', '.join(absent)}."] if absent else []
    lines += [f"{one.metric} is missing in {', '.join(one.missing)}." for one in found if one.missing]
    return [*lines, ""]


def report(runs: list[SeedRun], metrics: list[str], remarks: list[str]) -> str:
    """Everything that is printed; `Stop` if no two runs can be compared."""
    failed = [f"{run.name}: not counted, {run.why_not}." for run in runs if run.why_not]
    groups = group_runs([run for run in runs if not run.why_not])
    if not groups or len(groups[0]) < 2:
        left_out = " ".join([*remarks, *failed])
        raise Stop(f"no two finished runs differ in the seed alone; run `dvc exp run -S seed=1`. {left_out}".strip())
    lines = [line for group in groups if len(group) > 1 for line in told(group, groups[0], metrics)]
    alone = [
        f"{group[0].name}: alone with its params ({name_differences(group, groups[0])})."
        for group in groups
        if len(group) < 2
    ]
    return "\n".join([*lines, *alone, *failed, *remarks]).rstrip()


def main() -> None:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(prog="python -m tunelock.commands.seeds", description=__doc__.splitlines()[0])
    parser.add_argument("--metrics", nargs="+", default=list(METRICS), help="names in metrics/*.json")
    parser.add_argument("--all-commits", action="store_true", help="experiments of every commit, not of this one alone")
    given = parser.parse_args()
    with plain_errors("seeds"):
        stale = list_stale()
        remarks = (
            [f"The workspace is not counted: {escape_unprintable(stale[0])}, so its metrics are of another run."]
            if stale
            else []
        )
        shown = run_dvc_json("exp", "show", *(["--all-commits"] if given.all_commits else []))
        print(report(list_runs(shown, workspace=not stale), given.metrics, remarks))


if __name__ == "__main__":
    main()
