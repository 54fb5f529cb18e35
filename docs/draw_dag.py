"""The DAG of dvc.yaml as a chart: stages as boxes from left to right by depth, arrows for what one needs of another.

Layers, dummy nodes for long arrows and ordering by barycentres are those of Sugiyama, Tagawa and Toda (1981,
https://doi.org/10.1109/TSMC.1981.4308636). An arrow that others imply is left out.
"""

from collections import defaultdict
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

COLUMN, ROW, BOX_WIDTH, BOX_HEIGHT = 1.34, 0.62, 1.08, 0.36  # inches
SWEEPS = 12  # of ordering, forth and back; more change nothing here
COLOURS = {"data": "#66707b", "models": "#0072b2", "results": "#d55e00"}  # by what a stage writes
INK, LINE = "#24292f", "#969da6"


class Stage(NamedTuple):
    """A stage of dvc.yaml: what it writes, and the stages whose outs it needs."""

    name: str
    outs: tuple[str, ...]
    needs: frozenset[str]

    @property
    def kind(self) -> str:
        """`data`, `models`, or `results` for what is measured of them."""
        first = self.outs[0]
        if first.startswith(("metrics/", "models/evaluation")):
            return "results"
        return first.partition("/")[0]


def read_stages(dag: dict) -> dict[str, Stage]:
    """The stages of dvc.yaml by name, without the arrows that others imply."""
    outs = {name: _list_outs(entry) for name, entry in dag["stages"].items()}
    needs = defaultdict(set)
    for name, entry in dag["stages"].items():
        for dep in map(_name_path, entry["deps"]):
            needs[name] |= {other for other, paths in outs.items() if other != name and _is_of(dep, paths)}
    stages = {}
    for name, paths in outs.items():
        implied = set().union(*(_list_needed(other, needs) for other in needs[name]))
        stages[name] = Stage(name, paths, frozenset(needs[name] - implied))
    return stages


def _list_outs(entry: dict) -> tuple[str, ...]:
    """The paths that a stage writes."""
    listed = [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
    return tuple(map(_name_path, listed))


def _name_path(entry: str | dict) -> str:
    return entry if isinstance(entry, str) else next(iter(entry))


def _is_of(dep: str, outs: tuple[str, ...]) -> bool:
    """Whether a dependency is one of the outs, lies in one, or holds one."""
    return any(f"{dep}/".startswith(f"{out}/") or f"{out}/".startswith(f"{dep}/") for out in outs)


def _list_needed(name: str, needs: dict[str, set[str]]) -> set[str]:
    """All stages that one needs, directly or through others."""
    found = set()
    for other in needs[name]:
        found |= {other, *_list_needed(other, needs)}
    return found


def _measure_depth(name: str, stages: dict[str, Stage]) -> int:
    """How many stages stand before one, on the longest way."""
    return max((1 + _measure_depth(other, stages) for other in stages[name].needs), default=0)


def _route_arrows(stages: dict[str, Stage], depth: dict[str, int]) -> list[list[str]]:
    """The nodes that each arrow passes: a stage, a dummy in each column between, a stage."""
    routes = []
    for name, stage in stages.items():
        for other in sorted(stage.needs):
            between = [f"{other} to {name} at {column}" for column in range(depth[other] + 1, depth[name])]
            routes.append([other, *between, name])
    return routes


def _place_nodes(stages: dict[str, Stage], routes: list[list[str]], depth: dict[str, int]) -> dict[str, complex]:
    """Where each stage and dummy stands: its column and its height in it, in inches, as x + y i."""
    columns, neighbours = defaultdict(list), defaultdict(set)
    for name in stages:
        columns[depth[name]].append(name)
    for route in routes:
        for place, node in enumerate(route[1:-1], depth[route[0]] + 1):
            columns[place].append(node)
        for left, right in pairwise(route):
            neighbours[left].add(right)
            neighbours[right].add(left)
    height: dict[str, float] = {}
    for nodes in columns.values():
        height |= _spread_nodes(nodes)
    for sweep in range(SWEEPS):
        for column in sorted(columns, reverse=sweep % 2 == 1):
            level = {node: mean([height[other] for other in neighbours[node]] or [0.0]) for node in columns[column]}
            columns[column].sort(key=lambda node: (level[node], node))
            height |= _spread_nodes(columns[column])
    places = {}
    for column, nodes in columns.items():
        places |= {node: complex(column * COLUMN, -height[node]) for node in nodes}
    return places


def _spread_nodes(nodes: list[str]) -> dict[str, float]:
    """Heights at equal distances around the middle."""
    return {node: (place - (len(nodes) - 1) / 2) * ROW for place, node in enumerate(nodes)}


def draw_dag(dag: dict) -> Figure:
    """The figure of a dvc.yaml."""
    stages = read_stages(dag)
    depth = {name: _measure_depth(name, stages) for name in stages}
    routes = _route_arrows(stages, depth)
    places = _place_nodes(stages, routes, depth)
    xs, ys = [place.real for place in places.values()], [place.imag for place in places.values()]
    left, right = min(xs) - BOX_WIDTH / 2 - 0.1, max(xs) + BOX_WIDTH / 2 + 0.1
    low, high = min(ys) - BOX_HEIGHT, max(ys) + BOX_HEIGHT * 0.8
    figure = Figure((right - left, high - low))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(low, high))
    axes.set_axis_off()
    for route in routes:
        _draw_arrow(axes, [places[node] for node in route])
    for name, stage in stages.items():
        _draw_stage(axes, stage, places[name])
    _draw_legend(axes, left, low)
    return figure


def _draw_stage(axes: Axes, stage: Stage, place: complex) -> None:
    """A box with the stage's name, in the colour of what it writes."""
    corner = (place.real - BOX_WIDTH / 2, place.imag - BOX_HEIGHT / 2)
    style = {"facecolor": "white", "edgecolor": COLOURS[stage.kind], "linewidth": 1.5, "zorder": 3}
    box = FancyBboxPatch(corner, BOX_WIDTH, BOX_HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", **style)
    axes.add_patch(box)
    axes.text(place.real, place.imag, stage.name, ha="center", va="center", fontsize=10, color=INK, zorder=4)


def _draw_legend(axes: Axes, left: float, low: float) -> None:
    """What the colours say, in the lower left corner."""
    for place, (kind, colour) in enumerate(COLOURS.items()):
        axes.text(left + 0.12 + place * 0.72, low + 0.14, f"■ {kind}", fontsize=8.5, color=colour, va="center")


def _draw_arrow(axes: Axes, places: list[complex]) -> None:
    """A curve from the right of one box through the dummies to the left of another."""
    start, end = places[0] + BOX_WIDTH / 2, places[-1] - BOX_WIDTH / 2
    points, codes = [(start.real, start.imag)], [Curve.MOVETO]
    for here, there in pairwise([start, *places[1:-1], end]):
        bend = (there.real - here.real) / 2
        points += [(here.real + bend, here.imag), (there.real - bend, there.imag), (there.real, there.imag)]
        codes += [Curve.CURVE4] * 3
    style = {
        "arrowstyle": "-|>,head_width=3,head_length=5",
        "color": LINE,
        "linewidth": 1.3,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.add_patch(FancyArrowPatch(path=Curve(points, codes), zorder=2, **style))
