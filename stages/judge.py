"""Turn the rows of the expensive stages into the metrics, claims and plots that a reviewer is shown.

    python -m stages.judge

Reads models/evaluation/{base,tuned}.jsonl, data/split/train.jsonl, models/pilot/report.json, models/train/*.json and
models/merge_proof.json; writes metrics/{evaluate,claims,train,diagnosis,fresh_eyes,versions}.json, metrics/scores.csv,
metrics/plots/ and metrics/samples.md. What each file holds: `tunelock.claims`, `tunelock.diagnosis` and
`tunelock.claims.samples`.
"""

import sys

from tunelock.claims.claims import claim, claims
from tunelock.claims.comparison import compared, flat, reliability, tasks
from tunelock.claims.fresh_eyes import as_figures, examine
from tunelock.claims.samples import scores, side_by_side
from tunelock.diagnosis.diagnosis import DIAGNOSIS_PARAMS, count_verdicts, describe_verdict, diagnose_run
from tunelock.metrics.digits import short
from tunelock.metrics.measures import measures
from tunelock.metrics.training_figures import curve, train_figures
from tunelock.metrics.versions import versions
from tunelock.run.files import read_json, read_jsonl, write_json, write_text
from tunelock.run.stage import stage


@stage("judge")
def main(params, _fingerprint) -> str:
    level, samples = params.confidence_level, params.bootstrap_samples
    base, tuned = (list(read_jsonl(f"models/evaluation/{model}.jsonl")) for model in ("base", "tuned"))
    measured = compared(base, tuned, measures(params.label_patterns, params.format_checks))
    differences = claims(measured, base, level, samples)
    seen = examine(base, tuned, lambda: read_jsonl("data/split/train.jsonl"), level)
    log = read_json("models/train/log.json")
    verdicts = diagnose_run(log, params.select(DIAGNOSIS_PARAMS), tuned, base)
    others = (read_json(f"models/{name}.json") for name in ("train/too_long", "pilot/report", "merge_proof"))
    by_task = tasks(measured, base, level, samples)
    found = {
        "evaluate": flat(measured, base) | as_figures(seen),
        "claims": differences | claim(differences, level),
        "fresh_eyes": seen,
        "versions": versions(),
        "train": train_figures(log, *others),
        "diagnosis": count_verdicts(verdicts),
        "plots/train_loss": curve(log, "loss"),
        "plots/eval_loss": curve(log, "eval_loss"),
        "plots/tasks_test": [row for row in by_task if row["split"] == "test"],
        "plots/tasks_golden": [row for row in by_task if row["split"] == "golden"],
        "plots/calibration": reliability(measured, base),
    }
    for name, value in found.items():
        write_json(f"metrics/{name}.json", short(value))
    write_text("metrics/scores.csv", scores(base, measured))
    write_text("metrics/samples.md", side_by_side(base, tuned))
    for line in (*seen["suspicious"], *map(describe_verdict, verdicts)):
        print(line, file=sys.stderr)
    return found["claims"]["claim_sentence"]


if __name__ == "__main__":
    main()
