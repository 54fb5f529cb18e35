"""The charts of the report and of a pull request's comment: plain rows in, a matplotlib Figure out.

`to_svg` gives text for a page, which colours it by its own variables (`--chart-tuned`, …) and so may be dark or light;
`to_png` gives bytes on white. Both are the same for the same rows. Base and tuned differ in lightness and in hue.
"""

import io
import re
import warnings
from contextlib import contextmanager
from statistics import mean
from xml.sax.saxutils import quoteattr

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tunelock.report.style import COLOURS, STYLE, blank, legend
from tunelock.report.text import clipped, visible

MODELS = {"base": COLOURS["base"], "tuned": COLOURS["tuned"]}
UNSAID = ("Creator", "Date", "Format", "Type")
NOT_OURS = (
    "<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|font-family: [^;]*; "  # fonts and rules are the page's
)
SVG = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
    'stroke-linejoin="round" font-family="system-ui, sans-serif"'
)
MARKERS = {"base": "s", "tuned": "o"}
ROW = 0.2  # inches that a bar takes
MAX_TASKS = 24  # more make no chart


def loss_curves(train: list[dict], evals: list[dict]) -> Figure:
    """Loss (nats a token) by optimiser step: each step of train, their moving mean, and the validations.

    Args:
        train: rows of metrics/plots/train_loss.json (step, loss).
        evals: rows of metrics/plots/eval_loss.json (step, loss).
    """
    figure, axes = blank(3.0, "optimiser step", "loss (nats a token)")
    steps, losses = [row["step"] for row in train], [row["loss"] for row in train]
    axes.plot(steps, losses, color=COLOURS["tuned"], alpha=0.3, linewidth=0.9)
    axes.plot(steps, moving_mean(losses), color=COLOURS["tuned"], linewidth=1.8, label="train, moving mean")
    axes.plot(
        [row["step"] for row in evals], [row["loss"] for row in evals],
        color=COLOURS["accent"], linewidth=1.8, marker="o", markersize=4.5, label="validation",
    )  # fmt: skip
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axes)
    return figure


def moving_mean(values: list[float]) -> list[float]:
    """Each value's mean with its neighbours, a tenth of all of them wide."""
    half = max(1, len(values) // 20)
    return [mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def task_bars(rows: list[dict]) -> Figure:
    """Perplexity by task, a bar for base and one for tuned, each with its interval.

    Args:
        rows: rows of metrics/plots/tasks_SPLIT.json (task, model, perplexity, low, high; without low and high there is
            no interval). Of more than MAX_TASKS tasks those with the highest perplexity are shown.
    """
    worst = {task: max(row["perplexity"] for row in rows if row["task"] == task) for task in {r["task"] for r in rows}}
    tasks = sorted(sorted(worst, key=worst.get, reverse=True)[:MAX_TASKS])
    figure, axes = blank(0.9 + ROW * 3 * len(tasks), "perplexity, lower is better")
    reach = max([row.get("high") or row["perplexity"] for row in rows], default=1)
    for place, (model, colour) in enumerate(MODELS.items()):
        shown = [row for row in rows if row["model"] == model and row["task"] in tasks]
        spots = [tasks.index(row["task"]) + 0.36 * (place - 0.5) for row in shown]
        axes.barh(spots, [row["perplexity"] for row in shown], 0.33, color=colour, label=model)
        for spot, row in zip(spots, shown):
            whisker(axes, spot, row, reach)
    axes.set_yticks(range(len(tasks)), [clipped(visible(task), 24) for task in tasks])
    axes.set_ylim(max(1, len(tasks)) - 0.5, -0.5)
    axes.set_xlim(0, reach * 1.12)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    legend(figure, axes)
    return figure


def whisker(axes: Axes, spot: float, row: dict, reach: float) -> None:
    """The interval of a bar, and its value behind it."""
    low, high = row.get("low") or row["perplexity"], row.get("high") or row["perplexity"]
    axes.plot([low, high], [spot, spot], color=COLOURS["ink"], linewidth=1.1, solid_capstyle="butt")
    axes.plot([low, high], [spot, spot], color=COLOURS["ink"], linestyle="", marker="|", markersize=5)
    axes.text(
        high + 0.012 * reach,
        spot,
        f"{row['perplexity']:#.3g}".rstrip("."),
        va="center",
        fontsize=8,
        color=COLOURS["ink"],
    )


def calibration(rows: list[dict]) -> Figure:
    """How often a model is right by how sure it is; the dotted line is where both agree. A dot's area is its tokens.

    Args:
        rows: rows of metrics/plots/calibration.json (model, confidence, accuracy: shares; tokens).
    """
    figure, axes = blank(3.0, "probability of the likeliest token", "share that was right")
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (1, 2)))
    most = max([row["tokens"] for row in rows], default=1)
    for model, colour in MODELS.items():
        shown = sorted((row for row in rows if row["model"] == model and row["tokens"]), key=lambda r: r["confidence"])
        x, y = [row["confidence"] for row in shown], [row["accuracy"] for row in shown]
        axes.plot(x, y, color=colour, linewidth=1.6, marker=MARKERS[model], markersize=4, label=model)
        axes.scatter(x, y, [12 + 70 * row["tokens"] / most for row in shown], color=colour, zorder=3,
                     marker=MARKERS[model], edgecolors=COLOURS["paper"], linewidths=0.8)  # fmt: skip
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    legend(figure, axes)
    return figure


def lengths(rows: list[dict]) -> Figure:
    """How many rows of train have how many tokens.

    Args:
        rows: rows of metrics/length_histogram.json (tokens: where a bin begins, a number or its digits; rows).
    """
    figure, axes = blank(3.0, "tokens of prompt and answer", "rows of train")
    starts = [int(row["tokens"]) for row in rows]
    wide = starts[1] - starts[0] if len(starts) > 1 else 1
    axes.bar(starts, [row["rows"] for row in rows], 0.9 * wide, align="edge", color=COLOURS["tuned"])
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    return figure


@contextmanager
def no_word_of_glyphs():
    """No warning where matplotlib's font lacks a character: a page draws it with its own, a PNG shows a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def to_svg(figure: Figure, name: str, title: str) -> str:
    """A figure as an `<svg>` element for a page.

    Args:
        figure: what one of the functions above returns.
        name: a word; it begins every id in the element, so that several can stand in one page.
        title: what it shows, for those who hear the page.
    """
    out = io.StringIO()
    with rc_context(STYLE), no_word_of_glyphs():
        figure.savefig(out, format="svg", facecolor="none", metadata=dict.fromkeys(UNSAID))
    svg = out.getvalue()
    box = re.search(r'viewBox="[^"]+"', svg)[0]
    body = svg[svg.index(">", svg.index("<svg")) + 1 :].strip()
    body = re.sub(NOT_OURS, "", body, flags=re.DOTALL)
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for key, colour in COLOURS.items():
        body = body.replace(colour, f"var(--chart-{key}, {colour})")
    return f"<svg {SVG} {box} aria-label={quoteattr(visible(title))}>\n{body}\n"


def to_png(figure: Figure, dots_an_inch: int = 160) -> bytes:
    """A figure as a PNG on white, 900 pixels wide."""
    out = io.BytesIO()
    with rc_context(STYLE), no_word_of_glyphs():
        figure.savefig(out, format="png", dpi=dots_an_inch, facecolor="white", metadata={"Software": None})
    return out.getvalue()
