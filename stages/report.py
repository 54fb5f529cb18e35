"""Turn the rows of the expensive stages into the metrics and plots that `dvc metrics diff` and `dvc plots` show.

    python -m stages.report          # the stage
    python -m stages.report table    # the result table, base against tuned, in Markdown
    python -m stages.report readme   # writes that table into README.md

Reads models/evaluation/{base,tuned}.jsonl, models/pilot/report.json, models/train/*.json and
models/merge_proof.json; writes metrics/{evaluate,train,diagnosis}.json, metrics/plots/ and metrics/samples.md.
"""

import math
import sys
from collections import defaultdict
from pathlib import Path

from stages.lib.errors import Stop
from stages.lib.files import read_json, read_jsonl, write_json, write_text
from stages.lib.judging.diagnosis import DIAGNOSIS_PARAMS, as_metrics, as_text, diagnose
from stages.lib.judging.metrics import Bleu, LabelAccuracy, RougeL
from stages.lib.stage import plain_errors, stage

SAMPLES = 10  # questions shown side by side
TABLE = {  # column of the table: key in metrics/evaluate.json, digits
    "perplexity": 2,
    "loss": 3,
    "bleu": 1,
    "rouge_l": 3,
    "accuracy": 3,
    "stop_rate": 3,
}
MARKS = ("<!-- results: made by `python -m stages.report readme` -->\n", "<!-- end of results -->\n")


def measure(rows: list[dict]) -> dict[str, float]:
    """The metrics of one model on one set of rows (see `stages.evaluate`).

    loss is in nats a token of the answers, perplexity its exponential; bleu, rouge_l and stop_rate are over
    the rows that were answered, accuracy over the classify rows among them.
    """
    if not rows:
        raise Stop("there are no rows to measure; check data/split.")
    loss = sum(row["loss"] for row in rows) / sum(row["tokens"] for row in rows)
    found = {"loss": loss, "perplexity": math.exp(loss)}
    answered = [row for row in rows if "answer" in row]
    if answered:
        found |= compare(Bleu, answered) | compare(RougeL, answered)
        found["stop_rate"] = sum(row["stopped"] for row in answered) / len(answered)
        labelled = [row for row in answered if row["task"] == "classify"]
        found |= compare(LabelAccuracy, labelled) if labelled else {}
    return found


def compare(metric: type, rows: list[dict]) -> dict[str, float]:
    """One `evaluate.Metric` on the answers of rows."""
    answers, responses = [row["answer"] for row in rows], [row["response"] for row in rows]
    found = metric(keep_in_memory=True).compute(predictions=answers, references=responses)
    return {key: float(value) for key, value in found.items()}


def improvement(base: float, tuned: float) -> float:
    """By what share of the base's perplexity the tuned one is lower."""
    return 1 - tuned / base


def by(rows: list[dict], key: str) -> dict[str, list[dict]]:
    """Rows grouped by the value of `key`, in the order of the values."""
    groups = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return dict(sorted(groups.items()))


def evaluation(rows: dict[str, list[dict]]) -> tuple[dict[str, float], list[dict]]:
    """Return the flat metrics (`test_perplexity_base`, …) and a row for each split, task and model for the plots."""
    if [row["id"] for row in rows["base"]] != [row["id"] for row in rows["tuned"]]:
        raise Stop("base and tuned answered different rows; run `dvc repro` to score both on the same.")
    flat, tasks = {}, []
    for model, answers in rows.items():
        for split, members in by(answers, "split").items():
            flat |= {f"{split}_{key}_{model}": value for key, value in measure(members).items()}
            tasks += [
                {"name": f"{task} {model}", "split": split, "model": model, **measure(answered)}
                for task, answered in by(members, "task").items()
            ]
    for split in by(rows["base"], "split"):
        perplexities = (flat[f"{split}_perplexity_{model}"] for model in ("base", "tuned"))
        flat[f"{split}_perplexity_improvement"] = improvement(*perplexities)
    return flat, sorted(tasks, key=lambda row: (row["split"], row["name"]))


def side_by_side(base: list[dict], tuned: list[dict]) -> str:
    """A Markdown page with the reference and both answers to the first golden questions."""
    lines = ["# Golden questions, base against tuned\n"]
    pairs = [(a, b) for a, b in zip(base, tuned) if a["split"] == "golden" and "answer" in a]
    for before, after in pairs[:SAMPLES]:
        lines.append(f"## {before['id']} ({before['task']})\n")
        for title, text in (
            ("question", before["question"]),
            ("reference", before["response"]),
            ("base", before["answer"]),
            ("tuned", after["answer"]),
        ):
            lines.append(f"**{title}**\n\n" + "\n".join(f"    {line}" for line in text.splitlines()) + "\n")
    return "\n".join(lines)


def table(metrics: dict[str, float]) -> str:
    """The result table in Markdown, from metrics/evaluate.json."""
    lines = ["| | test base | test tuned | golden base | golden tuned |", "|---|---|---|---|---|"]
    for key, digits in TABLE.items():
        columns = [f"{split}_{key}_{model}" for split in ("test", "golden") for model in ("base", "tuned")]
        cells = [f"{metrics[column]:.{digits}f}" if column in metrics else "-" for column in columns]
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    changes = [f"{split} {-100 * metrics[f'{split}_perplexity_improvement']:+.1f} %" for split in ("test", "golden")]
    return "\n".join(lines) + f"\n\nPerplexity, tuned against base: {', '.join(changes)}.\n"


def with_table(readme: str, results: str) -> str:
    """README text with the part between MARKS replaced."""
    start, end = (readme.find(mark) for mark in MARKS)
    if not 0 <= start < end:
        raise Stop(f"README.md lacks the lines {MARKS[0].strip()} and {MARKS[1].strip()}; put them back.")
    return readme[: start + len(MARKS[0])] + results + readme[end:]


@stage("report")
def main(params, _fingerprint) -> None:
    rows = {model: list(read_jsonl(f"models/evaluation/{model}.jsonl")) for model in ("base", "tuned")}
    metrics, tasks = evaluation(rows)
    log, pilot = read_json("models/train/log.json"), read_json("models/pilot/report.json")
    losses = [entry for entry in log if "loss" in entry]
    validations = [entry for entry in log if "eval_loss" in entry]
    best = min(validations, key=lambda entry: entry["eval_loss"])
    write_json("metrics/evaluate.json", metrics)
    write_json("metrics/train.json", {
        "train_steps": log[-1]["step"],
        "train_loss_last": losses[-1]["loss"],
        "train_best_step": best["step"],
        "train_eval_loss": best["eval_loss"],
        "train_rows_too_long": len(read_json("models/train/too_long.json")["train"]),
        "pilot_loss_before": pilot["loss_before"],
        "pilot_loss_after": pilot["loss_after"],
        "pilot_control_strings": pilot["control_strings"],
        "merge_difference": read_json("models/merge_proof.json")["merged_against_adapter"],
    })  # fmt: skip
    write_json("metrics/plots/train_loss.json", [{"step": e["step"], "loss": e["loss"]} for e in losses])
    write_json("metrics/plots/eval_loss.json", [{"step": e["step"], "loss": e["eval_loss"]} for e in validations])
    for split in ("test", "golden"):
        write_json(f"metrics/plots/tasks_{split}.json", [row for row in tasks if row["split"] == split])
    verdicts = diagnose(log, params.select(DIAGNOSIS_PARAMS), rows["tuned"], rows["base"])
    write_json("metrics/diagnosis.json", as_metrics(verdicts))
    write_text("metrics/samples.md", side_by_side(rows["base"], rows["tuned"]))
    print(table(metrics))
    for verdict in verdicts:
        print(as_text(verdict), file=sys.stderr)


if __name__ == "__main__":
    if not sys.argv[1:]:
        main()
    elif sys.argv[1:] not in (["table"], ["readme"]):
        sys.exit("usage: python -m stages.report [table|readme]")
    else:
        with plain_errors("report"):
            results = table(read_json("metrics/evaluate.json"))
            if sys.argv[1] == "table":
                print(results)
            else:
                write_text("README.md", with_table(Path("README.md").read_text(encoding="utf-8"), results))
