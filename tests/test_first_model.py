"""docs/first-model.md, command by command, on a tiny model: a stranger's CSV becomes a pull request."""

import csv
import json
import re

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, copy_of_repository
from tunelock.reading.reading import Source, read_source
from tunelock.run.params import load_yaml

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs/first-model.md").read_text(encoding="utf-8")
ROWS = 60
EXIT_CODES = {"tunelock pr gate main": (0, 1, 2)}  # all that the page says of it
STEPS = [
    [line.split("  #")[0].strip() for line in block.strip().splitlines()]
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]


def write_faq(path) -> None:
    """A CSV with the page's columns: questions about weaknesses that are far from each other."""
    source = Source(**load_yaml(ROOT / "params.yaml")["sources"]["cwe"])
    pairs = []
    for row in read_source("cwe", source):
        said = row["messages"][-1]["content"] if "messages" in row else ""
        if row.get("task") == "explain" and 100 < len(said) < 600:
            pairs.append((row["messages"][-2]["content"], said))
    chosen = pairs[:: len(pairs) // ROWS][:ROWS]
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = [(asked, said, ("setup", "errors")[number % 2]) for number, (asked, said) in enumerate(chosen)]
        csv.writer(file).writerows([("question", "reply", "category"), *rows])


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_params):
    """A clone in which the example ran, as far as this page needs it, and the file of step 1."""
    folder = tmp_path_factory.mktemp("first model") / "my project"
    folder.mkdir()
    made = copy_of_repository(folder)
    made.set(**tiny_params)
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "the example")
    made.run("git", "branch", "-M", "main")
    write_faq(folder / "data/raw/faq.csv")
    return made


def follow(project, commands: list[str]) -> str:
    """Run the lines of one block as a person would type them; what they print."""
    printed = ""
    for command in commands:
        done = project.run("bash", "-c", command, check=False)
        printed += done.stdout
        assert done.returncode in EXIT_CODES.get(command, (0,)), f"{command}\n{done.stdout}\n{done.stderr}"
    return printed


def test_each_command_of_the_page_does_what_the_page_says(project):
    preview, repro, look, commit, experiment, keep, pull_request = STEPS
    assert f"{ROWS} rows read: {ROWS} records, 0 left out" in follow(project, preview)
    (params,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    project.set(**YAML(typ="safe").load(params))
    follow(project, repro)
    ledger = (project.folder / "data/clean/ledger.jsonl").read_text().splitlines()
    assert len(ledger) == ROWS and {json.loads(line)["file"] for line in ledger} == {"data/raw/faq.csv"}
    assert "perplexity" in follow(project, look) and (project.folder / "report.html").exists()
    follow(project, commit)
    assert project.run("git", "status", "--short").stdout == ""
    assert "rank-32" in follow(project, experiment)
    assert json.loads((project.folder / "models/adapter/adapter_config.json").read_text())["r"] == 32
    follow(project, keep)
    assert "lock" in follow(project, pull_request)
    assert (project.folder / "comment/comment.md").read_text()
