"""How charts look: size, colours, lines. Blue and vermilion are those of Okabe and Ito (https://jfly.uni-koeln.de/color/)."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "ink": "#24292f",
    "muted": "#66707b",
    "grid": "#e4e7eb",
    "base": "#969da6",
    "tuned": "#0072b2",
    "accent": "#d55e00",
    "paper": "#fffffe",
}
WIDTH = 5.6  # inches: two charts side by side on a desk, one on a phone
STYLE = {
    "font.size": 9.5,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a `$` in the name of a task is a `$`
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.borderaxespad": 0,
    "svg.fonttype": "none",  # text that the reader's own font draws, and that can be read out
    "svg.hashsalt": "tunelock",
}


def make_axes(height: float, x_label: str, y_label: str = "") -> tuple[Figure, Axes]:
    """An empty figure of the house's width, in inches high, and its axes."""
    with rc_context(STYLE):
        figure = Figure((WIDTH, height), layout="constrained")
        axes = figure.add_subplot(xlabel=x_label, ylabel=y_label)
    return figure, axes


def add_legend(figure: Figure, axes: Axes) -> None:
    """The names of the lines in a row above the axes, where they cover nothing."""
    with rc_context(STYLE):
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, handlelength=1.4)
