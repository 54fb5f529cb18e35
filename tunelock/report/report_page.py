"""The report on one page: claim, charts, rows, params, hashes; it needs no network.

It is no out of a stage: it may say which commit it is of and when it was made.
"""

from pathlib import Path

from markupsafe import Markup

from tunelock.report import charts, views
from tunelock.report.evidence import read_pairs
from tunelock.report.extremes import extremes, forgotten, general_tasks
from tunelock.report.page import number, render
from tunelock.run.files import read_jsonl

REPORT = Path("report.html")
GENERAL = "models/evaluation/general.jsonl"
SECTIONS = {
    "claim": "Claim", "results": "Results", "tasks": "Tasks", "training": "Training", "calibration": "Calibration",
    "rows": "Rows", "forgetting": "Forgetting", "fresh-eyes": "Fresh eyes", "review": "Human review", "data": "Data",
    "params": "Params", "hashes": "Hashes", "environment": "Environment",
}  # fmt: skip
SPLITS = {"test": "test split", "golden": "golden set"}


def build_report(found: dict, around: dict, review: dict | None, checks: dict[str, str]) -> str:
    """The page.

    Args:
        found: what `tunelock.report.evidence.read_evidence` returns.
        around: what `tunelock.report.surroundings.surroundings` returns.
        review: metrics/review.json, or None where nobody reviewed these answers.
        checks: the titles of what reviewers ticked, by name.
    """
    return render(
        "report.html.jinja",
        around=around,
        sections=[item for item in SECTIONS.items() if review or item[0] != "review"],
        charts=_draw_charts(found),
        review=review,
        checks=[(title, *_find_shares(review, key)) for key, title in checks.items()],
        **_view_results(found),
        **_view_training(found),
        **_view_rows(found),
        **_view_inputs(found),
    )


def _view_results(found: dict) -> dict:
    """What the page says of base against tuned on each split."""
    evaluate, claims = found["evaluate"], found["claims"]
    return {
        "claims": claims,
        "headline": views.headline(claims["claim_sentence"]),
        "tiles": [(name, _find_perplexities(evaluate, split)) for split, name in SPLITS.items()],
        "comparisons": [(name, views.comparisons(claims, split)) for split, name in SPLITS.items()],
        "results": views.results(evaluate, claims),
        "task_tables": [(name, views.tasks(found[f"tasks_{split}"])) for split, name in SPLITS.items()],
    }


def _view_training(found: dict) -> dict:
    """What it says of the training and of its health."""
    return {
        "train": found["train"],
        "train_numbers": [(key.replace("_", " "), number(value)) for key, value in found["train"].items()],
        "verdicts": _name_verdicts(found["diagnosis"]),
        "timings": views.timings(found["timings"]),
    }


def _view_rows(found: dict) -> dict:
    """The rows that it shows, and what became of general knowledge."""
    best, worst = extremes(read_pairs)
    return {
        "best": best,
        "worst": worst,
        "fresh_eyes": views.fresh_eyes(found["fresh_eyes"]),
        "suspicious": found["fresh_eyes"].get("suspicious", []),
        "retention": found["retention"],
        "general_tasks": general_tasks(read_jsonl(GENERAL)),
        "forgotten": forgotten(read_jsonl(GENERAL)),
    }


def _view_inputs(found: dict) -> dict:
    """The data, the params and the hashes that the results are of."""
    return {
        "split": found["split"],
        "lengths": found["lengths"],
        "funnel": views.funnel(found["data"], found["split"]),
        "params": found["params"],
        "flat_params": views.flat(found["params"]),
        "outs": views.outs(found["lock"]),
    }


def _draw_charts(found: dict) -> dict:
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


def _find_perplexities(evaluate: dict, split: str) -> dict[str, float]:
    """Base's and tuned's perplexity on a split."""
    return {model: evaluate[f"{split}_perplexity_{model}"] for model in ("base", "tuned")}


def _find_shares(review: dict | None, check: str) -> list[float | None]:
    """The shares of base's and tuned's answers that passed a check."""
    return [(review or {}).get(f"review_{check}_{model}") for model in ("base", "tuned")]


def _name_verdicts(diagnosis: dict) -> list[dict]:
    """The verdicts of metrics/diagnosis.json, each with its name."""
    return [{"name": name, **verdict} for name, verdict in diagnosis.items() if isinstance(verdict, dict)]
