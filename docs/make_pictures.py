"""Make the pictures of the pages, out of the run that the repository holds.

    make pictures                 # or: python -m docs.make_pictures [--base REVISION]

Writes docs/images/{report,comment,dag}.png: the first screen of the report, the comment on a pull request with its
charts, and the DAG. The comment compares with REVISION, or with the results before the last ones in git. Beside them
docs/images/sources.json holds the sha256 of each picture and of what it shows; a test fails where those differ.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from docs.draw_dag import draw_dag, read_stages
from tests.browser import Browser
from tunelock.pull_request.comment_files import write_comment
from tunelock.pull_request.report_gate import view_gate
from tunelock.pull_request.two_commits import compare_with_base
from tunelock.report.evidence import ANSWER_FILES, NEEDED, read_evidence
from tunelock.report.images import encode_png
from tunelock.report.report_page import build_report
from tunelock.report.surroundings import describe_surroundings
from tunelock.review.ticks import CHECKS, read_review
from tunelock.run.files import read_json, whole_file, write_json
from tunelock.run.hashing import sha256_file, sha256_value
from tunelock.run.params import load_yaml
from tunelock.run.revisions import run_git

IMAGES = Path("docs/images")
SOURCES = IMAGES / "sources.json"
WIDTH, HEIGHT = 1100, 760  # CSS pixels of a screen
SHARPNESS = 1.5  # pixels of the picture for one of CSS, for screens that have them
REPORT_FILES = (
    *(file for file in NEEDED if file.startswith("metrics/") and file != "metrics/timings.json"),
    "tunelock/report/layout.html.jinja",
    "tunelock/report/page.css",
    "tunelock/report/report.html.jinja",
)
COMMENT_FILES = ("metrics/claims.json", "metrics/evaluate.json", "metrics/scores.csv", "docs/comment.css")


class Picture(NamedTuple):
    """How a picture is made (PNG from a revision to compare with), and what it shows: a sha256 by source."""

    make: Callable[[str], bytes]
    list_sources: Callable[[], dict[str, str]]


def make_report(_base: str) -> bytes:
    """The first screen of the report."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        evidence, review = read_evidence(), read_review(ANSWER_FILES)
        page.write_text(build_report(evidence, describe_surroundings(), view_gate(), review, CHECKS), encoding="utf-8")
        return take_picture(page, whole=False)


def make_comment(base: str) -> bytes:
    """The comment on a pull request that this commit would be, as GitHub shows it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_comment(compare_with_base(base), folder, None)
        page = folder / "comment.html"
        page.write_text(render_markdown((folder / "comment.md").read_text(encoding="utf-8")), encoding="utf-8")
        return take_picture(page, whole=True)


def render_markdown(text: str) -> str:
    """Markdown as a page; tables and HTML are GitHub's (https://github.github.com/gfm/)."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    style = Path("docs/comment.css").read_text(encoding="utf-8")
    return f"<!doctype html><html lang=en><meta charset=utf-8><style>{style}</style><article>{body}</article></html>"


def make_dag(_base: str) -> bytes:
    """The stages of dvc.yaml."""
    return encode_png(draw_dag(load_yaml("dvc.yaml")))


def take_picture(page: Path, whole: bool) -> bytes:
    """A PNG of a page as Chromium shows it: all of it, or its first screen."""
    profile = tempfile.mkdtemp()
    browser = Browser(Path(profile))
    try:
        browser.open(page)
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        return browser.look(WIDTH, whole=whole, height=HEIGHT, sharpness=SHARPNESS)
    finally:
        browser.close()
        shutil.rmtree(profile, ignore_errors=True)


def hash_sources(*files: str) -> dict[str, str]:
    """The sha256 of files by their paths."""
    return {file: sha256_file(file) for file in files}


def hash_dag() -> dict[str, str]:
    """The sha256 of what the picture shows of dvc.yaml: which stages there are, of what kind, and their arrows."""
    stages = read_stages(load_yaml("dvc.yaml")).values()
    return {"dvc.yaml: stages and arrows": sha256_value([[one.name, one.kind, sorted(one.needs)] for one in stages])}


PICTURES = {
    "report.png": Picture(make_report, lambda: hash_sources(*REPORT_FILES)),
    "comment.png": Picture(make_comment, lambda: hash_sources(*COMMENT_FILES)),
    "dag.png": Picture(make_dag, hash_dag),
}


def find_outdated(made: dict[str, dict]) -> dict[str, list[str]]:
    """What is not as it was when a picture was made, by picture: sources, or the picture itself.

    Args:
        made: what docs/images/sources.json holds.
    """
    outdated = {}
    for name, entry in made.items():
        now = PICTURES[name].list_sources() if name in PICTURES else {}
        sources = entry["sources"]
        changed = sorted(key for key in now.keys() | sources.keys() if now.get(key) != sources.get(key))
        picture = IMAGES / name
        changed += [name] if not picture.exists() or sha256_file(picture) != entry["sha256"] else []
        if changed:
            outdated[name] = changed
    return outdated


def find_base() -> str:
    """The commit before the one that made the results that are here."""
    last = run_git("log", "-1", "--format=%H", "--", "metrics/scores.csv").strip()
    return run_git("rev-parse", "--short", f"{last}~1").strip()


def main() -> None:
    """Make the pictures that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m docs.make_pictures", description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"of {', '.join(PICTURES)}; all if none")
    parser.add_argument("--base", metavar="REVISION", help="what the comment compares with")
    given = parser.parse_args()
    IMAGES.mkdir(exist_ok=True, parents=True)
    made = read_json(SOURCES) if SOURCES.exists() else {}
    for name in given.pictures or PICTURES:
        picture = PICTURES[name]
        with whole_file(IMAGES / name) as file:
            file.write(picture.make(given.base or find_base()))
        made[name] = {"sha256": sha256_file(IMAGES / name), "sources": picture.list_sources()}
        print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1e3:,.0f} kB")
    write_json(SOURCES, made)


if __name__ == "__main__":
    main()
