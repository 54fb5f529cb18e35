"""A stranger's data in four forms: one entry in params.yaml, and `dvc repro split` ends in four splits."""

import csv
import itertools
import json
import os
import re
import shutil
from collections import Counter

import pytest

from tests.conftest import ROOT, copy_of_repository
from tunelock.reading.reading import Source, read_source
from tunelock.run.params import load_yaml

pytestmark = pytest.mark.slow
ROWS = 60
SETTINGS = {
    "golden_groups": None, "golden_ratio": 0.15, "val_ratio": 0.15, "test_ratio": 0.15, "languages": None,
    "min_response_chars": 20, "max_response_chars": 1200,
}  # fmt: skip


@pytest.fixture(scope="module")
def facts() -> list[tuple[str, str]]:
    """Questions about weaknesses that are far from each other, and their answers."""
    source = Source(**load_yaml(ROOT / "params.yaml")["sources"]["cwe"])
    pairs = [
        (row["messages"][-2]["content"], row["messages"][-1]["content"])
        for row in read_source("cwe", source)
        if row.get("task") == "explain" and 100 < len(row["messages"][-1]["content"]) < 600
    ]
    return pairs[:: len(pairs) // ROWS][:ROWS]


def write_csv(folder, facts) -> dict:
    with open(folder / "Fragen und Antworten 🎉.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";").writerows([("Frage", "Antwort"), *facts])
    return {"delimiter": ";", "columns": {"instruction": "{Frage}", "response": "{Antwort}"}}


def write_alpaca(folder, facts) -> dict:
    rows = [{"instruction": "Answer the question.", "input": asked, "output": said} for asked, said in facts]
    (folder / "alpaca.json").write_text(json.dumps(rows, indent=2))
    return {}


def write_sharegpt(folder, facts) -> dict:
    with open(folder / "sharegpt.jsonl", "w") as file:
        for number, pair in enumerate(zip(facts, facts[1:] + facts[:1])):
            turns = [turn for asked, said in pair[: 1 + number % 2] for turn in (("human", asked), ("gpt", said))]
            file.write(json.dumps({"conversations": [{"from": who, "value": what} for who, what in turns]}) + "\n")
    return {}


def write_texts(folder, facts) -> dict:
    for number, pair in enumerate(zip(facts[::2], facts[1::2])):
        (folder / f"{number}.txt").write_text("\n\n".join(said for _, said in pair))
    return {"chunk_chars": 300}


FORMS = {"csv": write_csv, "alpaca": write_alpaca, "sharegpt": write_sharegpt, "texts": write_texts}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, tiny_params):
    """A copy of the repository without its source."""
    folder = tmp_path_factory.mktemp("stranger") / "clone"
    folder.mkdir()
    project = copy_of_repository(folder)
    (folder / "dvc.lock").unlink(missing_ok=True)
    project.set(**tiny_params, **SETTINGS)
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "start")
    return project


def bring(project, form: str, facts) -> None:
    """Put the data of one form into data/raw and name it in params.yaml, in place of what is there."""
    for old in (project.folder / "data/raw").iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    folder = project.folder / "data/raw" / form
    folder.mkdir(parents=True)
    project.set(sources={"mine": {"path": f"data/raw/{form}", **FORMS[form](folder, facts)}})


def lines(project, name: str) -> list[dict]:
    return [json.loads(line) for line in (project.folder / name).read_text().split("\n") if line]


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '(\w+)'", output))


@pytest.mark.parametrize("form", FORMS)
def test_own_data_becomes_four_splits_and_every_row_is_accounted_for(repository, facts, form):
    bring(repository, form, facts)
    repository.run("dvc", "repro", "split")
    counts = json.loads((repository.folder / "data/records/counts.json").read_text())["mine"]
    assert counts["records"] == counts["rows"] >= ROWS
    funnel = json.loads((repository.folder / "metrics/data.json").read_text())["total"]
    assert funnel["rows"] == counts["rows"]
    assert funnel["kept"] + sum(funnel["dropped"].values()) + sum(funnel["set_aside"].values()) == funnel["rows"]
    assert funnel["kept"] > 0.8 * funnel["rows"]
    assert funnel["repairs"].get("byte_order_mark", 0) == (form == "csv")
    ledger = lines(repository, "data/clean/ledger.jsonl")
    told = ("id",) if form == "texts" else ("file", "line")  # a long paragraph becomes several records of one line
    assert len(ledger) == len({tuple(row[key] for key in told) for row in ledger}) == counts["rows"]
    assert Counter(row["status"] for row in ledger)["kept"] == funnel["kept"]
    splits = {name: lines(repository, f"data/split/{name}.jsonl") for name in ("train", "val", "test", "golden")}
    assert all(splits.values())
    left_out = lines(repository, "data/split/left_out.jsonl")
    assert sum(map(len, splits.values())) + len(left_out) == funnel["kept"]
    groups = [{row["group"] for row in rows} for rows in splits.values()]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(groups, 2))


def test_a_param_reruns_what_reads_it_and_nothing_before(repository, facts):
    bring(repository, "alpaca", facts)
    repository.run("dvc", "repro", "split")
    repository.set(min_response_chars=SETTINGS["min_response_chars"] + 150, max_dropped_share=0.5)
    done = repository.run("dvc", "repro", "split")
    assert {"clean", "split"} <= ran(done.stdout) and ran(done.stdout).isdisjoint({"ingest", "base"})
    repository.set(learning_rate=2e-3)
    changed = set(json.loads(repository.run("dvc", "status", "--json").stdout))
    assert "train" in changed and changed.isdisjoint({"ingest", "clean", "split", "base"})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"path": "data/raw/csv"}, "set `delimiter: ';'`"),
        ({"path": "data/raw/csv", "delimiter": ";"}, "the columns Antwort, Frage are of no known format"),
        (
            {"path": "data/raw/csv", "delimiter": ";", "columns": {"instruction": "{Q}", "response": "{Antwort}"}},
            "`columns.instruction` asks for the column 'Q', which no row has",
        ),
    ],
    ids=["wrong delimiter", "no columns", "misspelt column"],
)
def test_a_source_that_is_described_wrongly_stops_ingest_with_the_remedy(repository, facts, source, words):
    bring(repository, "csv", facts)
    repository.set(sources={"mine": source})
    repository.run("python", "-m", "stages.validate")
    done = repository.run("python", "-m", "stages.ingest", check=False)
    assert done.returncode == 1 and words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not [name for name in os.listdir(repository.folder / "data") if name.endswith(".partial")]
