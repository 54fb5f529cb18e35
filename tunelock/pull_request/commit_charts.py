"""Charts of two commits: their losses by step, and the perplexity of their tuned models by task."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunelock.report.charts import COLOURS, MAX_TASKS, ROW, blank, legend, whisker
from tunelock.report.text import clipped, visible

PLACES = (("base", COLOURS["base"]), ("tuned", COLOURS["tuned"]))  # the other commit in grey, this one in blue


def two_losses(
    train: tuple[list[dict], list[dict]], evals: tuple[list[dict], list[dict]], names: tuple[str, str]
) -> Figure:
    """Training loss (thin) and validation loss (with dots) by step.

    Args:
        train, evals: rows (step, loss) of the other commit and of this one.
        names: what the two are called.
    """
    figure, axes = blank(3.0, "optimiser step (thin: training)", "loss (nats a token)")
    for (_, colour), steps, checks, name in zip(PLACES, train, evals, names):
        axes.plot(*points(steps), color=colour, alpha=0.45, linewidth=0.9)
        axes.plot(*points(checks), color=colour, linewidth=1.8, marker="o", markersize=4.5, label=f"validation, {name}")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axes)
    return figure


def points(rows: list[dict]) -> tuple[list[float], list[float]]:
    """Steps and losses."""
    return [row["step"] for row in rows], [row["loss"] for row in rows]


def two_by_task(rows: tuple[list[dict], list[dict]], names: tuple[str, str], split: str) -> Figure:
    """A bar a task for the tuned model of the other commit and of this one, each with its interval where it has one.

    Args:
        rows: rows of metrics/plots/tasks_SPLIT.json (task, model, perplexity, low, high) of both commits; those that
            an older commit wrote in another form are passed over.
        names: what the two are called.
        split: what the rows are of.
    """
    needed = {"task", "model", "perplexity"}
    tuned = [[row for row in commit if needed <= row.keys() and row["model"] == "tuned"] for commit in rows]
    tasks = sorted({row["task"] for commit in tuned for row in commit})[:MAX_TASKS]
    figure, axes = blank(0.9 + ROW * 3 * len(tasks), f"perplexity on {split}, tuned model; lower is better")
    reach = max([row.get("high") or row["perplexity"] for commit in tuned for row in commit], default=1)
    for place, ((_, colour), commit, name) in enumerate(zip(PLACES, tuned, names)):
        shown = [row for row in commit if row["task"] in tasks]
        spots = [tasks.index(row["task"]) + 0.36 * (place - 0.5) for row in shown]
        axes.barh(spots, [row["perplexity"] for row in shown], 0.33, color=colour, label=name)
        for spot, row in zip(spots, shown):
            whisker(axes, spot, row, reach)
    axes.set_yticks(range(len(tasks)), [clipped(visible(task), 24) for task in tasks])
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_xlim(0, reach * 1.12)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    legend(figure, axes)
    return figure
