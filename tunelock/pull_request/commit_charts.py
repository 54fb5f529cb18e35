"""Charts of two commits: their losses by step, and the perplexity of their tuned models by task."""

from typing import Generic, NamedTuple, TypeVar

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunelock.report.charts import MAX_TASKS, BarSeries, draw_bars
from tunelock.report.plot_rows import LossRow, TaskRow
from tunelock.report.style import COLOURS, add_legend, make_axes

Rows = TypeVar("Rows")


class Commits(NamedTuple, Generic[Rows]):
    """The same of both commits: their names, their losses, or their rows by task."""

    base: Rows
    here: Rows


PLACES = Commits(COLOURS["base"], COLOURS["tuned"])  # the other commit in grey, this one in blue


def draw_commit_losses(train: Commits[list[LossRow]], evals: Commits[list[LossRow]], names: Commits[str]) -> Figure:
    """Training loss (thin) and validation loss (with dots) by step."""
    figure, axes = make_axes(3.0, "optimiser step (thin: training)", "loss (nats a token)")
    for colour, steps, checks, name in zip(PLACES, train, evals, names):
        label = f"validation, {name}"
        axes.plot(*_split_columns(steps), color=colour, alpha=0.45, linewidth=0.9)
        axes.plot(*_split_columns(checks), color=colour, linewidth=1.8, marker="o", markersize=4.5, label=label)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(figure, axes)
    return figure


def _split_columns(rows: list[LossRow]) -> tuple[list[int], list[float]]:
    """Steps and losses."""
    return [row["step"] for row in rows], [row["loss"] for row in rows]


def draw_commit_tasks(rows: Commits[list[TaskRow]], names: Commits[str], split: str) -> Figure:
    """A bar a task for the tuned model of the other commit and of this one, each with its interval where it has one.

    Args:
        rows: rows of metrics/plots/tasks_SPLIT.json; those that an older commit wrote in another form are passed over.
        names: what the two are called.
        split: what the rows are of.
    """
    series = [
        BarSeries(name, colour, _pick_tuned(commit_rows)) for colour, commit_rows, name in zip(PLACES, rows, names)
    ]
    tasks = set()
    for one in series:
        tasks |= {row["task"] for row in one.rows}
    return draw_bars(series, sorted(tasks)[:MAX_TASKS], f"perplexity on {split}, tuned model; lower is better")


def _pick_tuned(rows: list[TaskRow]) -> list[TaskRow]:
    """The rows of the tuned model that have what a bar needs."""
    needed = {"task", "model", "perplexity"}
    return [row for row in rows if needed <= row.keys() and row["model"] == "tuned"]
