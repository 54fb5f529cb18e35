"""Turn the rows of the expensive stages into the metrics, claims and plots that a reviewer is shown.

    python -m stages.metrics

Reads models/evaluation/{base,tuned}.jsonl, data/split/train.jsonl, models/pilot/report.json, models/train/*.json and
models/merge_proof.json; writes metrics/{evaluate,claims,train,retention,diagnosis,fresh_eyes,versions,rows}.json,
metrics/scores.csv, metrics/plots/ and metrics/samples.md. What each file holds: `tunelock.claims`,
`tunelock.diagnosis` and `tunelock.claims.samples`.
"""

import itertools
import sys
from typing import NamedTuple

from tunelock.claims.claims import judge_differences, make_claim
from tunelock.claims.comparison import Compared, bin_reliability, compare_models, flatten_scores, score_tasks
from tunelock.claims.fresh_eyes import examine_answers, flatten_shares
from tunelock.claims.retention import measure_retention
from tunelock.claims.samples import format_samples, format_scores
from tunelock.diagnosis.diagnosis import DIAGNOSIS_PARAMS, count_verdicts, describe_verdicts, diagnose_run
from tunelock.diagnosis.remedies import compose_remedy
from tunelock.metrics.digits import round_digits
from tunelock.metrics.labels import label_rows, tell_other_cases
from tunelock.metrics.registry import METRICS, describe_versions, name_row_sets
from tunelock.metrics.texts import explain_left_out
from tunelock.metrics.training_figures import list_losses, measure_training
from tunelock.records.scored_row import HELD_OUT, ScoredRow, is_held_out
from tunelock.run.files import read_json, read_jsonl, write_json, write_text
from tunelock.run.stage import stage


class Evaluated(NamedTuple):
    """The rows of both models: of test and golden, and of the general questions."""

    base: list[ScoredRow]
    tuned: list[ScoredRow]
    general_base: list[ScoredRow]
    general_tuned: list[ScoredRow]


def _read_evaluated() -> Evaluated:
    """Read what the two evaluating stages wrote."""
    parts = []
    for model in ("base", "tuned"):
        rows = list(read_jsonl(f"models/evaluation/{model}.jsonl"))
        parts.append((list(filter(is_held_out, rows)), list(itertools.filterfalse(is_held_out, rows))))
    (base, general_base), (tuned, general_tuned) = parts
    return Evaluated(base, tuned, general_base, general_tuned)


def _plot_metrics(measured: dict[str, Compared], rows: list[ScoredRow], level: float, samples: int) -> dict:
    """The plots of the scored rows by file name."""
    by_task = score_tasks(measured, rows, level, samples)
    plots = {"plots/calibration": bin_reliability(measured, rows)}
    for split in HELD_OUT:
        plots[f"plots/tasks_{split}"] = [row for row in by_task if row["split"] == split]
    return plots


def _plot_training(log: list[dict]) -> dict:
    """The loss curves by file name."""
    return {"plots/train_loss": list_losses(log, "loss"), "plots/eval_loss": list_losses(log, "eval_loss")}


@stage("metrics")
def main(params, _fingerprint) -> str:
    level, samples = params.confidence_level, params.bootstrap_samples
    rows, log = _read_evaluated(), read_json("models/train/log.json")
    others = [read_json(f"models/{name}.json") for name in ("train/too_long", "pilot/report", "merge_proof")]
    labelled = [label_rows(some, params.label_patterns, params.format_checks) for some in (rows.base, rows.tuned)]
    measured = compare_models(labelled[0], labelled[1], METRICS.values())
    differences = judge_differences(measured, rows.base, level, samples)
    seen = examine_answers(rows.base, rows.tuned, lambda: read_jsonl("data/split/train.jsonl"), level)
    settings, high = params.select(DIAGNOSIS_PARAMS), read_json("models/train/high_steps.json")
    verdicts = diagnose_run(log, settings, rows.tuned, rows.base, {one["step"]: one["rows"] for one in high})
    remedy = compose_remedy(verdicts, settings)
    found = {
        "evaluate": flatten_scores(measured, rows.base) | flatten_shares(seen),
        "claims": differences | make_claim(differences, level, explain_left_out(rows.base)),
        "retention": measure_retention(rows.general_base, rows.general_tuned, level, samples),
        "fresh_eyes": seen,
        "versions": describe_versions(),
        "rows": name_row_sets([*labelled[0], *rows.general_base]),
        "train": measure_training(log, *others),
        "diagnosis": count_verdicts(verdicts, remedy),
    }
    for name, value in (found | _plot_training(log) | _plot_metrics(measured, rows.base, level, samples)).items():
        write_json(f"metrics/{name}.json", round_digits(value))
    write_text("metrics/scores.csv", format_scores(rows.base, measured))
    write_text("metrics/samples.md", format_samples(rows.base, rows.tuned))
    told = [*tell_other_cases(labelled[1], params.label_patterns), *seen["suspicious"]]
    print(*told, describe_verdicts(verdicts, remedy), sep="\n", file=sys.stderr)
    return found["claims"]["claim_sentence"]


if __name__ == "__main__":
    main()
