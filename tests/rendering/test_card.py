"""The data card: figures that are exact, every source and reason named, and the same bytes on every machine."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import card as module
from stages.card import EXCERPT, SPLITS, CardFacts, make_table, quote_beginning, write_data_card
from tunelock.records.about_data import AboutData, read_about_data
from tunelock.records.record import make_messages, make_record
from tunelock.rendering.row_lengths import BINS, compute_percentile, count_by_length, summarise_row_lengths
from tunelock.run.files import format_json_line

ROOT = Path(__file__).parents[2]
LENGTHS = st.lists(st.integers(1, 5000), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("share", "rank"), [(0.5, 50), (0.95, 95), (0.99, 99), (0.951, 96), (0.001, 1), (0, 1), (1, 100)]
)
def test_a_percentile_is_the_value_of_the_nearest_rank(share, rank):
    assert compute_percentile(list(range(1, 101)), share) == rank


def test_the_percentile_of_one_value_is_that_value():
    assert [compute_percentile([7], share) for share in (0, 0.5, 0.99, 1)] == [7] * 4


@given(LENGTHS, st.floats(0, 1))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(lengths, share):
    found, ordered = compute_percentile(sorted(lengths), share), sorted(lengths)
    assert sum(value <= found for value in ordered) >= share * len(ordered)
    assert found == ordered[0] or sum(value < found for value in ordered) < share * len(ordered)


@given(LENGTHS)
def test_the_classes_of_a_histogram_hold_each_row_once(lengths):
    classes = count_by_length(lengths)
    assert sum(one["rows"] for one in classes) == len(lengths)
    assert len(classes) <= BINS
    names = [one["tokens"] for one in classes]
    assert names == sorted(names)
    starts = [*names, max(lengths) + 1]
    for start, stop, one in zip(starts, starts[1:], classes):
        assert one["rows"] == sum(start <= length < stop for length in lengths)


def test_the_figures_of_lengths():
    figures = summarise_row_lengths({"train": [*range(100, 0, -1)], "val": [8]}, max_length=90)
    assert figures["train"] == {
        "rows_measured": 100, "median": 50, "keeps_95_percent": 95, "keeps_99_percent": 99, "longest": 100,
        "share_above_max_length": 0.1,
    }  # fmt: skip
    assert figures["val"]["share_above_max_length"] == 0


def test_no_cell_breaks_a_table():
    made = make_table(["a|b", "c\nd"], [["x | y", 12345], ["two\r\nlines", "0|"]])
    assert made.splitlines() == [r"| a\|b | c d |", "| --- | --- |", r"| x \| y | 12,345 |", r"| two lines | 0\| |"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n\ntwo", "> one\n>\n> two"),
        ("a\u2028b", "> a\n> b"),
        ("x" * EXCERPT, "> " + "x" * EXCERPT),
        ("x" * (EXCERPT + 1), "> " + "x" * EXCERPT + " …"),
        ("# no heading\n| no | table", "> # no heading\n> | no | table"),
    ],
)
def test_a_long_text_is_cut_and_each_line_is_quoted(text, shown):
    assert quote_beginning(text) == shown


SOURCES = {
    "web": {"path": "https://example.org/a|b.jsonl", "revision": "0123456789abcdef" * 4, "licence": "CC-BY-4.0"},
    "mine": {"path": "data/raw/mine.csv"},
}
OF_SOURCE = {
    "mine": {"rows": 1200, "kept": 1100, "repaired": 3, "repairs": {"mojibake": 3}, "pii": {},
             "dropped": {"too_short": 60}, "set_aside": {"not_json": 40}},
    "web": {"rows": 20, "kept": 15, "repaired": 0, "repairs": {}, "pii": {"email": 2},
            "dropped": {"near_duplicate": 5}, "set_aside": {}},
    "total": {"rows": 1220, "kept": 1115, "repaired": 3, "repairs": {"mojibake": 3}, "pii": {"email": 2},
              "dropped": {"near_duplicate": 5, "too_short": 60}, "set_aside": {"not_json": 40}},
}  # fmt: skip
TOTAL = OF_SOURCE.pop("total")
DATA = {"sources": OF_SOURCE, "total": TOTAL, "tasks": {"explain": 1000, "sort|of": 115}}
SPLIT = {
    "left_out": {"near_overlap": 7, "max_train_samples": 1066},
    **{name: {"rows": 10 + n, "groups": 5, "tasks": {"explain": 10 + n}} for n, name in enumerate(SPLITS)},
}
ROWS = [
    make_record(make_messages("Why is it so?", "", "Because."), "mine", "data/raw/mine.csv", 7, "explain", None, None),
    make_record(make_messages("Sort it.", "", "Done."), "web", SOURCES["web"]["path"], 8, "sort|of", None, "CC-BY-4.0"),
]
FIGURES = summarise_row_lengths({name: [10, 20, 400] for name in SPLITS}, 384)


def made(**changes) -> str:
    about = AboutData(title="tickets", personal_data="Names were replaced.", prose="A person wrote this.")
    given = {"about": about, "sources": SOURCES, "data": DATA, "split": SPLIT}
    return write_data_card(CardFacts(**given | {"lengths": FIGURES, "max_length": 384, "rows": ROWS} | changes))


def test_the_card_names_every_source_licence_reason_split_and_task():
    text = made()
    assert "A person wrote this." in text
    for words in (
        r"| web | `https://example.org/a\|b.jsonl` | `0123456789ab` | CC-BY-4.0 | 20 | 15 |",
        "| mine | `data/raw/mine.csv` | `` | not stated | 1,200 | 1,100 |",
        "| dropped: too short | 60 | 0 | 60 |",
        "| dropped: near duplicate | 0 | 5 | 5 |",
        "| set aside: not json | 40 | 0 | 40 |",
        "| repaired | 3 | 0 | 3 |",
        "| email | 2 |",
        r"| split | rows | groups | explain | sort\|of |",
        "| golden | 13 | 5 | 13 | 0 |",
        "| near overlap | 7 |",
        "| max train samples | 1,066 |",
        "| val | 20 | 400 | 400 | 400 | 33.3% |",
        "max_length is 384",
        "from `data/raw/mine.csv`, row 7",
        "> Because.",
    ):
        assert words in text, words
    assert all(re.search(rf"^\| {name} \|", text, re.MULTILINE) for name in SPLITS)


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    blocks = re.findall(r"(?:^\|.*\n?)+", made(), re.MULTILINE)
    assert len(blocks) >= 6
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_an_example_says_which_answers_are_not_learnt_from():
    messages = [*make_messages("Why?", "", "Because."), *make_messages("Really?", "", "Yes.")]
    messages[1]["weight"] = 0
    text = made(rows=[make_record(messages, "mine", "data/raw/mine.csv", 7, "chat", None, None)])
    assert "**assistant, not learnt from**\n\n> Because." in text and "**assistant**\n\n> Yes." in text


def test_of_one_source_the_total_is_not_repeated():
    text = made(sources={"mine": SOURCES["mine"]}, data=DATA | {"sources": {"mine": OF_SOURCE["mine"]}})
    assert "|  | mine |\n" in text


def test_the_card_says_what_a_person_said_of_personal_data_and_what_the_patterns_found():
    text = made(data=DATA | {"total": TOTAL | {"pii": {}}})
    assert "## Personal data and secrets\n\nNames were replaced.\n\nThe patterns found none." in text


def test_a_card_that_nobody_wrote_for_has_the_names_of_its_sources_and_says_so(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = made(about=read_about_data(SOURCES))  # the example's page is about another source
    assert text.splitlines()[1:4] == ["# Data card: mine, web", "", "Nobody has written about this data yet."]
    assert "Nobody has said yet whether the rows are about persons." in text
    assert "CWE" not in text and "MITRE" not in text


def test_a_page_with_a_heading_of_its_own_keeps_it():
    assert made(about=AboutData(prose="# Tickets\n\nOf 2024.")).splitlines()[1:4] == ["# Tickets", "", "Of 2024."]


def test_a_path_of_this_machine_is_told_from_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = made(sources=SOURCES | {"mine": {"path": str(tmp_path / "data" / "raw" / "mine.csv")}})
    assert str(tmp_path) not in text
    assert "| `data/raw/mine.csv` |" in text


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_model):
    """Run the stage on the rows of each split, in a folder of its own."""

    def run(folder: str) -> tuple[bytes, dict, list]:
        for name in ("data/raw", "data/split", "metrics", "models"):
            (tmp_path / folder / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / folder)
        params = {
            "sources": SOURCES,
            "max_length": 384,
            "max_turns": None,
            "system_prompt": None,
            "long_rows": "set_aside",
            "thinking": "none",
        }
        Path("params.yaml").write_text(json.dumps(params))
        Path("dvc.yaml").write_text(json.dumps({"stages": {"card": {"cmd": "x", "params": [*params]}}}))
        Path("models/base").symlink_to(tiny_model)
        Path("data/raw/README.md").write_text("# About\n")
        Path("metrics/data.json").write_text(json.dumps(DATA))
        Path("metrics/split.json").write_text(json.dumps(SPLIT))
        for name in SPLITS:
            Path(f"data/split/{name}.jsonl").write_bytes(b"".join(map(format_json_line, ROWS)))
        module.main()
        measured = (json.loads(Path(f"metrics/{name}.json").read_text()) for name in ("lengths", "length_histogram"))
        return Path("data/README.md").read_bytes(), *measured

    return run


def test_a_missing_licence_and_a_missing_page_are_said(run, capsys):
    run("one")
    assert "no `licence` is stated for mine under `sources`" in capsys.readouterr().err
    Path("data/raw/README.md").write_text("---\ndescribes: [other]\n---\nText.\n")
    module.main()
    assert "data/raw/README.md has no page about mine, web" in capsys.readouterr().err


def test_the_stage_writes_the_same_bytes_in_every_folder_and_names_none(run, tmp_path):
    text, lengths, classes = run("one")
    assert run("two") == (text, lengths, classes)
    assert str(tmp_path).encode() not in text
    assert {lengths[name]["rows_measured"] for name in SPLITS} == {2} == {sum(one["rows"] for one in classes)}
    assert 10 < lengths["train"]["median"] <= lengths["train"]["longest"] < 384
