"""The report on one page: claim, charts, rows, params, hashes; it needs no network.

It is no out of a stage: it may say which commit it is of and when it was made. The template gets one `ReportPage`,
whose parts are the sections of the page.
"""

from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from tunelock.report import charts, input_views, views
from tunelock.report.evidence import Evidence, read_general_pairs, read_pairs
from tunelock.report.extremes import find_extremes, find_forgotten, score_general_tasks
from tunelock.report.images import encode_svg
from tunelock.report.page import name_key, render_page, show_number
from tunelock.report.parts import (
    BothModels,
    ClaimPart,
    DataPart,
    ForgettingPart,
    FreshEyesPart,
    GatePart,
    ReportPage,
    ReviewPart,
    SplitComparisons,
    TaskPart,
    TokensPart,
    TrainingPart,
)
from tunelock.report.surroundings import Surroundings

REPORT = Path("report.html")
SECTIONS = {
    "claim": "Claim", "results": "Results", "tasks": "Tasks", "training": "Training", "calibration": "Calibration",
    "rows": "Rows", "forgetting": "Forgetting", "fresh-eyes": "Fresh eyes", "review": "Human review", "data": "Data",
    "params": "Params", "hashes": "Hashes", "environment": "Environment",
}  # fmt: skip
SPLITS = {"test": "test split", "golden": "golden set"}


def build_report(
    found: Evidence, around: Surroundings, gate: GatePart, review: dict | None, checks: dict[str, str]
) -> str:
    """The page as HTML.

    Args:
        found: the metrics, params and dvc.lock.
        around: where and when the page is made.
        gate: what the gate says of these results.
        review: metrics/review.json, or None where nobody reviewed these answers.
        checks: the titles of what reviewers ticked, by name.
    """
    page = ReportPage(
        around=around,
        sections={key: title for key, title in SECTIONS.items() if review or key != "review"},
        claim=_view_claim(found),
        gate=gate,
        results=views.list_results(found.evaluate, found.claims),
        tasks=_view_tasks(found),
        training=_view_training(found),
        tokens=_view_tokens(found),
        rows=find_extremes(read_pairs),
        forgetting=_view_forgetting(found),
        fresh_eyes=FreshEyesPart(found.fresh_eyes.get("suspicious", []), views.list_fresh_eyes(found.fresh_eyes)),
        review=ReviewPart(review, _view_checks(review, checks)) if review else None,
        data=DataPart(found.split, input_views.build_funnel(found.data, found.split)),
        params=found.params,
        written_params=input_views.write_params(found.params),
        outputs=input_views.list_outputs(found.lock),
    )
    return render_page("report.html.jinja", page=page)


def _view_claim(found: Evidence) -> ClaimPart:
    perplexities, comparisons = [], []
    for split, title in SPLITS.items():
        base, tuned = (found.evaluate[f"{split}_perplexity_{model}"] for model in ("base", "tuned"))
        perplexities.append(BothModels(title, base, tuned))
        comparisons.append(SplitComparisons(title, views.list_comparisons(found.claims, split)))
    headline = views.split_headline(found.claims["claim_sentence"])
    return ClaimPart(found.claims["claim"], headline, perplexities, comparisons)


def _view_tasks(found: Evidence) -> list[TaskPart]:
    parts = []
    for (split, title), rows in zip(SPLITS.items(), (found.tasks_test, found.tasks_golden)):
        chart = _draw_markup(charts.draw_tasks(rows), f"tasks-{split}", f"Perplexity by task, {title}")
        parts.append(TaskPart(title, chart, views.tabulate_tasks(rows)))
    return parts


def _view_training(found: Evidence) -> TrainingPart:
    losses = charts.draw_losses(found.train_loss, found.eval_loss)
    verdicts = [{"name": name, **entry} for name, entry in found.diagnosis.items() if isinstance(entry, dict)]
    return TrainingPart(
        figures=found.train,
        numbers={name_key(key): show_number(value) for key, value in found.train.items()},
        verdicts=verdicts,
        remedy=found.diagnosis.get("remedy", []),
        chart=_draw_markup(losses, "loss", "Loss of train and validation by step"),
        times=input_views.list_stage_times(found.timings, found.machines),
    )


def _view_tokens(found: Evidence) -> TokensPart:
    calibration, lengths = charts.draw_calibration(found.calibration), charts.draw_lengths(found.length_histogram)
    return TokensPart(
        calibration_chart=_draw_markup(calibration, "calibration", "Share right by probability"),
        lengths_chart=_draw_markup(lengths, "lengths", "Rows of train by tokens"),
        lengths=found.lengths,
    )


def _view_forgetting(found: Evidence) -> ForgettingPart:
    tasks, rows = score_general_tasks(read_general_pairs()), find_forgotten(read_general_pairs())
    return ForgettingPart(found.retention, tasks, rows)


def _view_checks(review: dict, checks: dict[str, str]) -> list[BothModels]:
    """The shares of base's and tuned's answers that passed each check."""
    return [
        BothModels(title, review.get(f"review_{key}_base"), review.get(f"review_{key}_tuned"))
        for key, title in checks.items()
    ]


def _draw_markup(figure: Figure, name: str, title: str) -> Markup:
    """A chart as markup for the page."""
    return Markup(encode_svg(figure, name, title))  # noqa: S704 (matplotlib escapes what stands in it)
