"""The pictures of the pages are made of what the repository holds."""

import json
import re
import shutil
import struct
from pathlib import Path

import pytest

from docs import make_pictures
from docs.draw_dag import draw_dag, read_stages
from docs.make_pictures import IMAGES, SOURCES, find_outdated, make_report, render_markdown
from tests.conftest import ROOT
from tests.made_results import made_results
from tunelock.run.files import read_json
from tunelock.run.params import load_yaml


def list_made() -> dict[str, dict]:
    """What docs/images/sources.json says of each picture; empty before the first `make pictures`."""
    return read_json(ROOT / SOURCES) if (ROOT / SOURCES).exists() else {}


def test_no_picture_is_older_than_what_it_shows(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert find_outdated(list_made()) == {}, "run `make pictures`"


def test_every_picture_that_a_page_shows_is_there_and_says_what_it_shows():
    shown = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]:
        shown |= set(re.findall(r"images/([\w.-]+\.png)", page.read_text(encoding="utf-8")))
    files = {path.name for path in (ROOT / IMAGES).glob("*.png")}
    assert shown <= files, "run `make pictures`"
    assert files == set(list_made()), "run `make pictures`"


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """Made results with what else the pictures show, in them the working directory."""
    made_results(tmp_path)
    for name in ("docs/comment.css", "dvc.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tunelock/report", tmp_path / "tunelock/report")
    (tmp_path / "metrics/scores.csv").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_picture_is_outdated_when_a_source_or_the_picture_itself_changed(results, monkeypatch):
    monkeypatch.setattr(make_pictures, "take_picture", lambda page, whole: page.read_bytes())
    monkeypatch.setattr("sys.argv", ["make_pictures", "report.png", "dag.png", "--base", "none"])
    make_pictures.main()
    made = json.loads(SOURCES.read_text())
    assert set(made) == {"report.png", "dag.png"} and find_outdated(made) == {}
    Path("metrics/claims.json").write_text("{}")
    (IMAGES / "dag.png").write_bytes(b"")
    assert find_outdated(made) == {"report.png": ["metrics/claims.json"], "dag.png": ["dag.png"]}


def test_the_report_is_pictured_by_its_first_screen(results):
    picture = make_report("")
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (1650, 1140)


def test_a_comment_is_shown_with_its_tables_and_what_can_be_unfolded():
    page = render_markdown(
        "| a | b |\n|---|---|\n| `x` | 2 |\n\n<details><summary>more</summary>\n\nrest\n\n</details>\n"
    )
    assert "<td><code>x</code></td>" in page and "<details><summary>more</summary>" in page


def test_the_picture_of_the_dag_has_every_stage_and_no_arrow_that_others_imply():
    dag = load_yaml(ROOT / "dvc.yaml")
    stages = read_stages(dag)
    assert list(stages) == list(dag["stages"])
    assert stages["clean"].needs == {"ingest", "base"} and stages["train"].needs == {"pilot"}
    assert {stages[name].kind for name in ("ingest", "train", "evaluate")} == {"data", "models", "results"}
    texts = [text.get_text() for text in draw_dag(dag).axes[0].texts]
    assert set(stages) < set(texts)


def test_no_two_boxes_of_the_dag_stand_on_each_other():
    boxes = [patch for patch in draw_dag(load_yaml(ROOT / "dvc.yaml")).axes[0].patches if hasattr(patch, "get_x")]
    corners = {(round(box.get_x(), 6), round(box.get_y(), 6)) for box in boxes}
    assert len(corners) == len(boxes) == len(load_yaml(ROOT / "dvc.yaml")["stages"])
