"""The charts of the report: rows in, a matplotlib Figure out. Base and tuned differ in lightness and in hue."""

from statistics import mean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tunelock.report.plot_rows import CalibrationRow, LengthRow, LossRow, TaskRow
from tunelock.report.style import COLOURS, add_legend, make_axes
from tunelock.report.text import clip_text, reveal_unseen

MODELS = {"base": COLOURS["base"], "tuned": COLOURS["tuned"]}
MARKERS = {"base": "s", "tuned": "o"}
ROW = 0.2  # inches that a bar takes
MAX_TASKS = 24  # more make no chart


class BarSeries(NamedTuple):
    """What is drawn in one colour: its name in the legend, and at most a row a task."""

    name: str
    colour: str
    rows: list[TaskRow]


def draw_losses(train: list[LossRow], evals: list[LossRow]) -> Figure:
    """Loss (nats a token) by optimiser step: each step of train, their moving mean, and the validations."""
    figure, axes = make_axes(3.0, "optimiser step", "loss (nats a token)")
    steps, losses = [row["step"] for row in train], [row["loss"] for row in train]
    axes.plot(steps, losses, color=COLOURS["tuned"], alpha=0.3, linewidth=0.9)
    axes.plot(steps, average_neighbours(losses), color=COLOURS["tuned"], linewidth=1.8, label="train, moving mean")
    axes.plot(
        [row["step"] for row in evals], [row["loss"] for row in evals],
        color=COLOURS["accent"], linewidth=1.8, marker="o", markersize=4.5, label="validation",
    )  # fmt: skip
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(figure, axes)
    return figure


def average_neighbours(values: list[float]) -> list[float]:
    """Each value's mean with its neighbours, a tenth of all of them wide."""
    half = max(1, len(values) // 20)
    return [mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def draw_tasks(rows: list[TaskRow]) -> Figure:
    """Perplexity by task, a bar for base and one for tuned, each with its interval.

    Of more than MAX_TASKS tasks those with the highest perplexity are shown.
    """
    worst: dict[str, float] = {}
    for row in rows:
        worst[row["task"]] = max(row["perplexity"], worst.get(row["task"], row["perplexity"]))
    tasks = sorted(sorted(sorted(worst), key=worst.__getitem__, reverse=True)[:MAX_TASKS])
    series = []
    for model, colour in MODELS.items():
        series.append(BarSeries(model, colour, [row for row in rows if row["model"] == model]))
    return draw_bars(series, tasks, "perplexity, lower is better")


def draw_bars(series: list[BarSeries], tasks: list[str], label: str) -> Figure:
    """A bar a task and series from top to bottom, each with its interval, if it has one, and its value."""
    figure, axes = make_axes(0.9 + ROW * 3 * len(tasks), label)
    ends = []
    for one in series:
        ends += [row.get("high") or row["perplexity"] for row in one.rows]
    reach = max(ends, default=1)
    for place, one in enumerate(series):
        shown = [row for row in one.rows if row["task"] in tasks]
        spots = [tasks.index(row["task"]) + 0.36 * (place - 0.5) for row in shown]
        axes.barh(spots, [row["perplexity"] for row in shown], 0.33, color=one.colour, label=one.name)
        for spot, row in zip(spots, shown):
            _draw_whisker(axes, spot, row, reach)
    axes.set_yticks(range(len(tasks)), [clip_text(reveal_unseen(task), 24) for task in tasks])
    axes.set_ylim(max(1, len(tasks)) - 0.5, -0.5)
    axes.set_xlim(0, reach * 1.12)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    add_legend(figure, axes)
    return figure


def _draw_whisker(axes: Axes, spot: float, row: TaskRow, reach: float) -> None:
    """The interval of a bar, and its value behind it."""
    value, ink = row["perplexity"], COLOURS["ink"]
    low, high = row.get("low") or value, row.get("high") or value
    axes.plot([low, high], [spot, spot], color=ink, linewidth=1.1, solid_capstyle="butt")
    axes.plot([low, high], [spot, spot], color=ink, linestyle="", marker="|", markersize=5)
    axes.text(high + 0.012 * reach, spot, f"{value:#.3g}".rstrip("."), va="center", fontsize=8, color=ink)


def draw_calibration(rows: list[CalibrationRow]) -> Figure:
    """How often a model is right by how sure it is; the dotted line is where both agree. A dot's area is its tokens."""
    figure, axes = make_axes(3.0, "probability of the likeliest token", "share that was right")
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (1, 2)))
    most = max([row["tokens"] for row in rows], default=1)
    for model, colour in MODELS.items():
        measured = [row for row in rows if row["model"] == model and row["tokens"]]
        measured.sort(key=lambda row: row["confidence"])
        x, y = [row["confidence"] for row in measured], [row["accuracy"] for row in measured]
        areas = [12 + 70 * row["tokens"] / most for row in measured]
        marker = MARKERS[model]
        axes.plot(x, y, color=colour, linewidth=1.6, marker=marker, markersize=4, label=model)
        axes.scatter(x, y, areas, color=colour, zorder=3, marker=marker, edgecolors=COLOURS["paper"], linewidths=0.8)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    add_legend(figure, axes)
    return figure


def draw_lengths(rows: list[LengthRow]) -> Figure:
    """How many rows of train have how many tokens."""
    figure, axes = make_axes(3.0, "tokens of prompt and answer", "rows of train")
    starts = [int(row["tokens"]) for row in rows]
    wide = starts[1] - starts[0] if len(starts) > 1 else 1
    axes.bar(starts, [row["rows"] for row in rows], 0.9 * wide, align="edge", color=COLOURS["tuned"])
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    return figure
