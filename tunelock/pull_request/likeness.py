"""Is a figure of two commits of the same thing? Of the same rows by their content, by the same version of the metric.

What is not alike is not compared: a rule on it is undecided, and the comment names it.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelock.metrics.registry import METRICS
from tunelock.pull_request.lock import LOCK
from tunelock.pull_request.pairing import PairedRows
from tunelock.records.scored_row import GENERAL, HELD_OUT
from tunelock.run.files import read_json
from tunelock.run.revisions import read_file_at, read_json_at

EVALUATE, ROWS, VERSIONS = "metrics/evaluate.json", "metrics/rows.json", "metrics/versions.json"
VAL = "data/split/val.jsonl"
OF_GENERAL = {  # how the figures of metrics/retention.json begin, and the metric that they are made of
    "general_contrast": "contrast",
    "general_accuracy": "choice_accuracy",
    "general_": "loss",
    "retention": "loss",
}
MODELS = re.compile(r"_(base|tuned|improvement)$")


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two commits have in common.

    rows: by split and metric, why its rows are not those of the other commit. versions: by metric, why it is another
    one. val: why the losses on val are not of the same rows. groups: of each split, here. is_first: the other commit
    has no metrics at all, so that this is the first result.
    """

    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    val: str = ""
    groups: dict[str, int] = field(default_factory=dict)
    is_first: bool = False

    def explain(self, name: str) -> str:
        """Why a figure of metrics/*.json, such as `test_chrf_tuned`, is not of the same thing; empty if it is."""
        split, metric = find_metric(name)
        if split == "val":
            return self.val
        return self.versions.get(metric, "") or self.rows.get(split, {}).get(metric, "")

    def explain_small(self, name: str) -> str:
        """Why a figure is of too few groups for anything to be said; empty if it is not."""
        from tunelock.claims.uncertainty import MIN_GROUPS  # brings SciPy

        split, _ = find_metric(name)
        groups = self.groups.get(split, MIN_GROUPS)
        return f"{split} has {groups} groups, fewer than the {MIN_GROUPS} of an interval" * (groups < MIN_GROUPS)


def find_metric(name: str) -> tuple[str, str]:
    """The split and the metric that a figure is of; both empty if it is of no evaluated rows."""
    split, _, rest = name.partition("_")
    if split in HELD_OUT:
        metric = MODELS.sub("", rest.partition(".")[0])
        return split, metric if metric in METRICS else "stop_rate"  # others look at the answers
    for begins, metric in OF_GENERAL.items():
        if name.startswith(begins):
            return GENERAL, metric
    return ("val", "loss") if name.startswith("train_eval_loss") else ("", "")


def compare_likeness(commit: str, pairs: PairedRows | None, groups: dict[str, int]) -> Likeness:
    """What this working tree and a commit have in common, out of git alone."""
    if pairs is None and read_file_at(commit, EVALUATE) is None:
        return Likeness(groups=groups, is_first=True)
    before, here = read_json_at(commit, ROWS, {}), _read_present(ROWS)
    known = _compare_row_sets(before, here, pairs) if before and here else _compare_ids(pairs)
    return Likeness(known, compare_versions(commit), _compare_val(commit), groups)


def _compare_row_sets(before: dict, here: dict, pairs: PairedRows | None) -> dict[str, dict[str, str]]:
    """By the hashes of metrics/rows.json."""
    found: dict[str, dict[str, str]] = {}
    for split, hashes in here.items():
        other = before.get(split, {})
        for metric in sorted(hashes.keys() & other.keys()):
            if hashes[metric] != other[metric]:
                found.setdefault(split, {})[metric] = _explain_rows(split, metric, pairs)
    return found


def _explain_rows(split: str, metric: str, pairs: PairedRows | None) -> str:
    """In words: the rows of a figure are other ones than at the other commit."""
    if split == GENERAL:
        return "the general questions are not those of the other commit, or have other tokens"
    if pairs and (pairs.gone[split] or pairs.new[split]):
        counts = f"{pairs.new[split]:,} are new, {pairs.gone[split]:,} are gone"
        return f"the {split} rows are not those of the other commit: {counts}"
    if "tokens" in METRICS[metric].hangs_on and pairs and pairs.retokenised[split]:
        return f"the {split} rows have other tokens than at the other commit"
    return f"the {split} rows that have it are not those of the other commit"


def _compare_ids(pairs: PairedRows | None) -> dict[str, dict[str, str]]:
    """By the ids and the tokens of metrics/scores.csv, where a commit has no hashes of its rows yet."""
    found: dict[str, dict[str, str]] = {}
    if pairs is None:
        return found
    for split in HELD_OUT:
        for name, metric in METRICS.items():
            other_tokens = "tokens" in metric.hangs_on and pairs.retokenised[split]
            if pairs.gone[split] or pairs.new[split] or other_tokens:
                found.setdefault(split, {})[name] = _explain_rows(split, name, pairs)
    return found


def compare_versions(commit: str) -> dict[str, str]:
    """By metric, that both commits have it, but in two versions."""
    before, here, found = read_json_at(commit, VERSIONS, {}), _read_present(VERSIONS), {}
    for name in sorted(before.keys() & here.keys()):
        old, new = before[name], here[name]
        if any(old.get(key) != new.get(key) for key in ("version", "signature")):
            versions = f"version {old.get('version')} there, {new.get('version')} here"
            found[name] = f"{name} is not counted as at the other commit ({versions})"
    return found


def _compare_val(commit: str) -> str:
    """Whether dvc.lock of both commits has the same val split."""
    texts = read_file_at(commit, LOCK) or "", Path(LOCK).read_text(encoding="utf-8") if Path(LOCK).exists() else ""
    found = [re.search(rf"path: {re.escape(VAL)}\n\s+hash: md5\n\s+md5: (\w+)", text) for text in texts]
    same = None in found or found[0][1] == found[1][1]
    return "" if same else "the val rows are not those of the other commit"


def _read_present(path: str) -> Any:
    return read_json(path) if Path(path).exists() else {}
