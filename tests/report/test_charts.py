"""Charts show the numbers they are given, the same way each time, whatever the tasks are called."""

import hashlib
import json
import re
import shutil
import time
import xml.dom.minidom
from pathlib import Path

import pytest

from docs import make_plots_page
from tests.browser import Browser
from tests.conftest import ROOT, Project
from tunelock.report.charts import (
    MAX_TASKS,
    average_neighbours,
    draw_calibration,
    draw_lengths,
    draw_losses,
    draw_tasks,
)
from tunelock.report.images import encode_png, encode_svg
from tunelock.report.style import COLOURS

TASKS = [
    {"task": task, "model": model, "perplexity": value, "low": value - 1, "high": value + 2}
    for task, values in {"detect": (60.0, 40.0), "classify": (9.0, 3.0)}.items()
    for model, value in zip(("base", "tuned"), values)
]
TRAIN = [{"step": step, "loss": 3.0 - step / 10} for step in range(1, 21)]
EVALS = [{"step": 10, "loss": 2.5}, {"step": 20, "loss": 2.0}]
CALIBRATION = [
    {"model": model, "confidence": at, "accuracy": at / 2, "tokens": 10}
    for model in ("base", "tuned")
    for at in (0.2, 0.8)
]
LENGTHS = [{"tokens": 0, "rows": 3}, {"tokens": 20, "rows": 5}, {"tokens": 40, "rows": 0}]
CHARTS = {
    "loss": lambda: draw_losses(TRAIN, EVALS),
    "tasks": lambda: draw_tasks(TASKS),
    "calibration": lambda: draw_calibration(CALIBRATION),
    "lengths": lambda: draw_lengths(LENGTHS),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_the_same_bytes_each_time(name):
    assert encode_svg(CHARTS[name](), name, "x") == encode_svg(CHARTS[name](), name, "x")
    assert encode_png(CHARTS[name]()) == encode_png(CHARTS[name]())


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_for_a_page_is_whole_names_no_address_to_load_and_takes_the_pages_colours(name):
    svg = encode_svg(CHARTS[name](), name, 'A "title" & more')
    element = xml.dom.minidom.parseString(svg).documentElement
    assert element.getAttribute("aria-label") == 'A "title" & more'
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
    for key, colour in COLOURS.items():
        assert svg.count(colour) == svg.count(f"var(--chart-{key}, {colour})")
    assert "<style" not in svg and "font-family:" not in svg


def test_ids_of_two_charts_in_one_page_differ():
    def ids(name):
        page = xml.dom.minidom.parseString(encode_svg(draw_tasks(TASKS), name, "x"))
        return {element.getAttribute("id") for element in page.getElementsByTagName("*")} - {""}

    assert ids("one") and not ids("one") & ids("two")


def test_what_a_chart_refers_to_within_itself_is_there():
    svg = encode_svg(draw_calibration(CALIBRATION), "c", "x")
    page = xml.dom.minidom.parseString(svg)
    elements = page.getElementsByTagName("*")
    ids = {element.getAttribute("id") for element in elements}
    used = {element.getAttribute("xlink:href").removeprefix("#") for element in page.getElementsByTagName("use")}
    clips = {e.getAttribute("clip-path").removeprefix("url(#").removesuffix(")") for e in elements} - {""}
    assert used and clips and used | clips <= ids


def test_a_png_is_900_pixels_wide():
    png = encode_png(draw_lengths(LENGTHS))
    assert png.startswith(b"\x89PNG\r\n") and 890 <= int.from_bytes(png[16:20]) <= 900


def test_bars_are_as_long_as_the_perplexities_with_their_intervals():
    axes = draw_tasks(TASKS).axes[0]
    tasks = [label.get_text() for label in axes.get_yticklabels()]
    bars = {
        (tasks[round(bar.get_y() + bar.get_height() / 2)], model.get_label()): bar.get_width()
        for model in axes.containers for bar in model
    }  # fmt: skip
    assert bars == {(row["task"], row["model"]): row["perplexity"] for row in TASKS}
    spans = {tuple(line.get_xdata()) for line in axes.lines}
    assert spans == {(row["low"], row["high"]) for row in TASKS}
    assert {text.get_text() for text in axes.texts} == {"60.0", "40.0", "9.00", "3.00"}


def test_bars_without_intervals_and_for_no_rows_can_be_drawn():
    bare = [{key: row[key] for key in ("task", "model", "perplexity")} for row in TASKS]
    assert {tuple(line.get_xdata()) for line in draw_tasks(bare).axes[0].lines} == {(x, x) for x in (60, 40, 9, 3)}
    for figure in (draw_tasks([]), draw_calibration([]), draw_lengths([]), draw_losses([], [])):
        assert encode_svg(figure, "empty", "x").endswith("</svg>\n")


def test_of_very_many_tasks_the_hardest_are_shown():
    rows = [{"task": f"t{n:03d}", "model": "base", "perplexity": 1.0 + n} for n in range(MAX_TASKS + 50)]
    labels = [label.get_text() for label in draw_tasks(rows).axes[0].get_yticklabels()]
    assert labels == [f"t{n:03d}" for n in range(50, MAX_TASKS + 50)]


def test_losses_are_drawn_at_their_steps():
    train, mean, evals = draw_losses(TRAIN, EVALS).axes[0].lines
    assert list(train.get_ydata()) == [row["loss"] for row in TRAIN]
    assert list(zip(evals.get_xdata(), evals.get_ydata())) == [(10, 2.5), (20, 2.0)]
    assert list(mean.get_xdata()) == [row["step"] for row in TRAIN]


def test_the_moving_mean_is_that_of_the_neighbours():
    assert average_neighbours([0.0, 3.0, 0.0, 9.0]) == pytest.approx([1.5, 1.0, 4.0, 4.5])
    assert average_neighbours([]) == []


def test_calibration_is_drawn_for_both_models_and_bins_without_tokens_are_not():
    rows = [*CALIBRATION, {"model": "base", "confidence": 0.5, "accuracy": 0, "tokens": 0}]
    lines = {line.get_label(): line for line in draw_calibration(rows).axes[0].lines}
    for model in ("base", "tuned"):
        assert list(zip(lines[model].get_xdata(), lines[model].get_ydata())) == [(0.2, 0.1), (0.8, 0.4)]


def test_lengths_stand_where_their_bins_begin():
    bars = draw_lengths(LENGTHS).axes[0].patches
    assert [(bar.get_x(), bar.get_height()) for bar in bars] == [(0, 3), (20, 5), (40, 0)]


@pytest.mark.parametrize(
    "task", ["$\\frac{", "</svg><script>alert(1)</script>", "a\x00b\x1b[31m\ud800", "--><b>", "\u202eevil"]
)
def test_a_hostile_name_of_a_task_is_only_text(task):
    svg = encode_svg(draw_tasks([{"task": task, "model": "base", "perplexity": 2.0}]), "t", task)
    page = xml.dom.minidom.parseString(svg.encode())  # parses, so no character is left that XML does not know
    names = {element.tagName for element in page.getElementsByTagName("*")}
    assert not names & {"script", "b"}
    assert "\u202e" not in svg


PLOTS = """
plots:
  - bars: {template: intervals, x: perplexity, y: {tasks.json: name}}
  - sure: {template: calibration, x: confidence, y: {calibration.json: accuracy}}
  - long: {template: histogram, x: tokens, y: {lengths.json: rows}}
"""


@pytest.fixture(scope="module")
def plots_page(tmp_path_factory) -> Path:
    """What `dvc plots show` writes with the settings and templates of this repository."""
    folder = tmp_path_factory.mktemp("plots")
    project = Project(folder)
    project.run("git", "init", "-q")
    project.run("dvc", "init", "-q")
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots", dirs_exist_ok=True)
    for name in ("config", "plots_page.html"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    named = [row | {"name": f"{row['task']} {row['model']}"} for row in TASKS]
    for name, rows in {"tasks": named, "calibration": CALIBRATION, "lengths": LENGTHS}.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (folder / "dvc.yaml").write_text(PLOTS)
    project.run("dvc", "plots", "show")
    return folder / "dvc_plots/index.html"


def test_dvc_draws_our_templates_with_the_intervals_in_them(plots_page):
    page = plots_page.read_text()
    bars, sure, long = (json.loads(spec) for spec in re.findall(r"var spec = (\{.*?\});\n", page, re.DOTALL))
    assert "<DVC_" not in page
    shown = [
        {key: row[key] for key in ("task", "model", "perplexity", "low", "high")} for row in bars["data"]["values"]
    ]
    assert shown == TASKS
    assert bars["encoding"]["y"]["field"] == "name"
    whisker = bars["layer"][1]["encoding"]
    assert (whisker["x"]["field"], whisker["x2"]["field"]) == ("low", "high")
    assert [row["model"] for row in sure["data"]["values"]] == ["base", "base", "tuned", "tuned"]
    assert (long["encoding"]["x"]["field"], long["encoding"]["y"]["field"]) == ("tokens", "rows")


def test_the_page_of_dvc_draws_all_plots_without_a_network(plots_page, tmp_path):
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(plots_page)
        drawn = "document.querySelectorAll('.vega-embed canvas, .vega-embed svg.marks').length"
        end = time.monotonic() + 20
        while browser.do(drawn) < 3 and time.monotonic() < end:
            time.sleep(0.2)
        assert browser.do(drawn) == 3
        assert browser.requests == [plots_page.as_uri()]
    finally:
        browser.close()


def test_base_and_tuned_have_another_mark_in_the_plot_of_calibration_and_in_its_legend(plots_page):
    sure = re.findall(r"var spec = (\{.*?\});\n", plots_page.read_text(), re.DOTALL)[1]
    marks = [layer["encoding"].get("shape") for layer in json.loads(sure)["layer"]]
    (shape,) = filter(None, marks)
    assert shape["field"] == "model" and shape["legend"]
    assert len(set(shape["scale"]["range"])) == 2


def test_the_page_of_dvc_holds_the_scripts_that_are_pinned():
    page = (ROOT / make_plots_page.PAGE).read_text(encoding="utf-8")
    found = [
        hashlib.sha256(script.encode()).hexdigest() for script in re.findall(r"<script>(.*?)</script>", page, re.S)
    ]
    assert found == [*make_plots_page.SCRIPTS.values()]
    assert page.count("Redistribution and use in source and binary forms") == len(found)  # their licences
