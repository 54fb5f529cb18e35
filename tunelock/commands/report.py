"""Show the results.

    python -m tunelock.commands.report # writes report.html: claim, charts, rows, params, hashes; needs no network
    python -m tunelock.commands.report table    # the result table, base against tuned, in Markdown
    python -m tunelock.commands.report readme   # writes that table into README.md

Reads metrics/, models/evaluation/, params.yaml and dvc.lock. No stage of the DAG: what it writes may know the commit
and the clock.
"""

import sys
from pathlib import Path

from markupsafe import Markup

from tunelock.report import charts, views
from tunelock.report.evidence import ANSWER_FILES, read_evidence, read_pairs
from tunelock.report.extremes import extremes, forgotten, general_tasks
from tunelock.report.page import number, render
from tunelock.report.result_table import table, with_table
from tunelock.report.surroundings import surroundings
from tunelock.review.ticks import CHECKS, read_review
from tunelock.run.files import read_json, read_jsonl, write_text
from tunelock.run.stage import plain_errors

PAGE = Path("report.html")
GENERAL = "models/evaluation/general.jsonl"
SECTIONS = {
    "claim": "Claim", "results": "Results", "tasks": "Tasks", "training": "Training", "calibration": "Calibration",
    "rows": "Rows", "forgetting": "Forgetting", "fresh-eyes": "Fresh eyes", "review": "Human review", "data": "Data",
    "params": "Params", "hashes": "Hashes", "environment": "Environment",
}  # fmt: skip
SPLITS = {"test": "test split", "golden": "golden set"}


def report(found: dict, around: dict, review: dict | None) -> str:
    """The page.

    Args:
        found: what `tunelock.report.evidence.evidence` returns.
        around: what `tunelock.report.surroundings.surroundings` returns.
        review: metrics/review.json, or None where nobody reviewed these answers.
    """
    best, worst = extremes(read_pairs)
    same = ("claims", "params", "retention", "split", "lengths", "train")
    return render(
        "report.html.jinja", **{key: found[key] for key in same},
        around=around, review=review, headline=views.headline(found["claims"]["claim_sentence"]),
        checks=[(title, *ticked(review, key)) for key, title in CHECKS.items()],
        sections=[item for item in SECTIONS.items() if review or item[0] != "review"],
        tiles=[(name, perplexities(found["evaluate"], split)) for split, name in SPLITS.items()],
        comparisons=[(name, views.comparisons(found["claims"], split)) for split, name in SPLITS.items()],
        results=views.results(found["evaluate"], found["claims"]), fresh_eyes=views.fresh_eyes(found["fresh_eyes"]),
        suspicious=found["fresh_eyes"].get("suspicious", []),
        task_tables=[(name, views.tasks(found[f"tasks_{split}"])) for split, name in SPLITS.items()],
        charts=drawn(found), best=best, worst=worst, verdicts=verdicts(found["diagnosis"]),
        train_numbers=[(key.replace("_", " "), number(value)) for key, value in found["train"].items()],
        general_tasks=general_tasks(read_jsonl(GENERAL)), forgotten=forgotten(read_jsonl(GENERAL)),
        funnel=views.funnel(found["data"], found["split"]), flat_params=views.flat(found["params"]),
        outs=views.outs(found["lock"]), timings=views.timings(found["timings"]),
    )  # fmt: skip


def drawn(found: dict) -> dict:
    """The charts as markup for the page."""

    def draw(name: str, title: str, figure) -> Markup:
        return Markup(charts.to_svg(figure, name, title))  # noqa: S704 (matplotlib escapes what stands in it)

    tasks = [
        (title, draw(f"tasks-{split}", f"Perplexity by task, {title}", charts.task_bars(found[f"tasks_{split}"])))
        for split, title in SPLITS.items()
    ]
    loss = charts.loss_curves(found["train_loss"], found["eval_loss"])
    return {
        "tasks": tasks,
        "loss": draw("loss", "Loss of train and validation by step", loss),
        "calibration": draw("calibration", "Share right by probability", charts.calibration(found["calibration"])),
        "lengths": draw("lengths", "Rows of train by tokens", charts.lengths(found["length_histogram"])),
    }


def perplexities(evaluate: dict, split: str) -> dict[str, float]:
    """Base's and tuned's perplexity on a split."""
    return {model: evaluate[f"{split}_perplexity_{model}"] for model in ("base", "tuned")}


def ticked(review: dict | None, check: str) -> list[float | None]:
    """The shares of base's and tuned's answers that passed a check."""
    return [(review or {}).get(f"review_{check}_{model}") for model in ("base", "tuned")]


def verdicts(diagnosis: dict) -> list[dict]:
    """The verdicts of metrics/diagnosis.json, each with its name."""
    return [{"name": name, **verdict} for name, verdict in diagnosis.items() if isinstance(verdict, dict)]


def main(command: str | None) -> None:
    """Write the page, print the table, or put it into README.md."""
    if command is None:
        found = read_evidence()
        write_text(PAGE, report(found, surroundings(), read_review(ANSWER_FILES)))
        print(PAGE.resolve().as_uri())
        return
    results = table(read_json("metrics/evaluate.json"), read_json("metrics/claims.json"))
    if command == "table":
        print(results)
    else:
        write_text("README.md", with_table(Path("README.md").read_text(encoding="utf-8"), results))


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["table"], ["readme"]):
        sys.exit("usage: python -m tunelock.commands.report [table|readme]")
    with plain_errors("report"):
        main(next(iter(sys.argv[1:]), None))
