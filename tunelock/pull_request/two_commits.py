"""The working tree beside what git has of another commit: settings, metrics, rows in pairs."""

from dataclasses import dataclass
from pathlib import Path

from tunelock.pull_request.likeness import Likeness, compare_likeness, compare_versions
from tunelock.pull_request.pairing import Comparison, PairedRows, compare_commits, count_groups, pair_rows, read_scores
from tunelock.pull_request.thresholds import MetricsDiff
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.run.revisions import find_commit, read_file_at, run_dvc_json

SCORES = Path("metrics/scores.csv")


@dataclass(frozen=True, slots=True)
class _RowComparison:
    """The tuned models of both commits row by row; or nothing, and why. `groups` are those of each split here."""

    comparisons: list[Comparison]
    pairs: PairedRows | None
    unpaired_because: str
    groups: dict[str, int]


@dataclass(frozen=True, slots=True)
class TwoCommits:
    """`base` as it was asked for, its commit, rules of the gate and level of params.yaml here, what was compared, and
    what of it can be."""

    base: str
    commit: str
    rules: dict[str, str]
    level: float
    metrics: MetricsDiff
    rows: _RowComparison
    likeness: Likeness


def compare_with_base(base: str) -> TwoCommits:
    """Compare the working tree with the commit that `base` names.

    Raises:
        Stop: there is no such commit, or something that is compared is not there.
    """
    commit, params = find_commit(base), load_yaml("params.yaml")
    try:
        rules, level, samples = params["gate"], params["confidence_level"], params["bootstrap_samples"]
    except KeyError as key:
        raise Stop(f"params.yaml lacks {key}; add it back (`git diff params.yaml` shows what was there).") from None
    metrics = run_dvc_json("metrics", "diff", "--all", commit)
    rows = compare_rows(commit, level, samples)
    return TwoCommits(base, commit, rules, level, metrics, rows, compare_likeness(commit, rows.pairs, rows.groups))


def compare_rows(commit: str, level: float, samples: int) -> _RowComparison:
    """Compare the scores here with those of a commit; intervals of a level out of so many resamples."""
    if not SCORES.exists():
        raise Stop(f"{SCORES} is missing; run `dvc repro` to make it.")
    before, here = read_file_at(commit, str(SCORES)), read_scores(SCORES.read_text(encoding="utf-8"), str(SCORES))
    groups = dict(count_groups(here))
    if before is None:
        return _RowComparison([], None, f"The other commit has no `{SCORES}`, so there are no rows to pair.", groups)
    pairs = pair_rows(read_scores(before, f"{SCORES} of {commit[:7]}"), here)
    found = compare_commits(pairs, level, samples, compare_versions(commit))
    common = any((one.split, one.metric) == ("test", "loss") for one in found)
    why_not = "" if common else "The two commits have no test row in common that both scored on the same tokens."
    return _RowComparison(found, pairs, why_not, groups)
