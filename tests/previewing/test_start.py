"""`tunelock start`: a stranger's files become a params.yaml that runs, each guess is said with its reason."""

import csv
import json
import random
import re
import shutil
from pathlib import Path

import pytest

from tests.command_line import run_tunelock
from tests.conftest import ROOT
from tunelock.previewing.start_files import detect_delimiter, detect_encoding, find_file_sets
from tunelock.previewing.start_guess import guess_source
from tunelock.previewing.start_labels import write_label_pattern
from tunelock.previewing.start_profile import MOST_VALUES, SAMPLED, TableProfile, ValueCounts
from tunelock.reading.formats import map_columns
from tunelock.reading.rows import Row
from tunelock.records.about_data import AboutData, format_about_data, parse_about_data
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.schema.params_problems import find_problems

WORDS = """
reset update install configure replace clean calibrate pair restart inspect charge mount connect align test move repair
router printer scanner laptop phone tablet camera server monitor keyboard modem speaker drone sensor battery projector
kitchen office garage garden workshop basement hallway classroom hospital warehouse library station airport museum farm
""".strip()
DEEDS, THINGS, PLACES = map(str.split, WORDS.splitlines())
ROWS = 120


def write_sentence(dice: random.Random) -> str:
    """A sentence that shares few pairs of words with any other."""
    return (
        f"{dice.choice(DEEDS).capitalize()} the {dice.choice(THINGS)} in the {dice.choice(PLACES)} with tool "
        f"{dice.randrange(10**6)} and {dice.choice(DEEDS)} part {dice.randrange(10**6)}."
    )


def make_rows(shape: str) -> list[dict]:
    """Rows of one of the shapes in which people keep their data."""
    dice, rows = random.Random(shape), []
    for number in range(ROWS):
        said, asked = write_sentence(dice), f"How do I {write_sentence(dice)[:-1]}?"
        passage = " ".join(write_sentence(dice) for _ in range(6))
        options = [f"{dice.choice(DEEDS)} {dice.randrange(10**6)}" for _ in range(4)]
        rows.append(
            {
                "faq": {"id": number, "customer_id": f"c{number % 30}", "question": asked, "answer": said},
                "passage": {"question": asked, "passage": passage, "answer": ("yes", "no", "maybe")[number % 3]},
                "options": {"question": asked, "options": options, "answer": options[number % 4], "explanation": said},
                "lettered": {"question": asked, **dict(zip("ABCD", options)), "answer": "ABCD"[number % 4]},
                "chat": {"id": f"x{number}", "conversations": make_turns(asked, said)},
                "alpaca": {"instruction": asked, "input": passage if number % 2 else "", "output": said},
                "classes": {"text": passage, "label": ("praise", "complaint")[number % 2]},
                "contract": {"doc": number // 4, "contract": f"{number // 4} {passage}", "query": asked, "reply": said},
                "chinese": {"问题": write_chinese(dice, 18) + "？", "答案": write_chinese(dice, 40) + "。"},
                "unnamed": {"one": asked, "two": said},
                "text": {"text": passage, "url": f"https://example.org/{number}"},
            }[shape]
        )
    return rows


def write_chinese(dice: random.Random, length: int) -> str:
    """Characters in no order: no two such texts are alike."""
    return "".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(length))


def make_turns(asked: str, said: str) -> list[dict]:
    return [{"from": "Human", "value": asked}, {"from": "GPT", "value": said}]


def guess(rows: list[dict]):
    """What is guessed of these rows."""
    table = TableProfile()
    table.add_rows(Row(number, row) for number, row in enumerate(rows, 1))
    return guess_source(table, {})


@pytest.mark.parametrize(
    ("shape", "entry", "why"),
    [
        (
            "faq",
            {"format": "qa", "group": "{customer_id}", "ignore_columns": ["id"]},
            "`customer_id` repeats 4 times a value (30 values), so it is the group",
        ),
        ("passage", {"format": "qa"}, "`passage` is named like a context"),
        ("options", {"format": "qa", "ignore_columns": ["explanation"]}, "`explanation` may tell the answer"),
        ("lettered", {"format": "qa"}, "`A`, `B`, `C`, `D` have the options to choose from"),
        ("chat", {"format": "sharegpt", "ignore_columns": ["id"]}, "the format sharegpt"),
        ("alpaca", {"format": "alpaca"}, "`instruction` is the question"),
        (
            "classes",
            {
                "columns": {
                    "instruction": "{text}",
                    "response": "{label}",
                    "system": "Answer with one of these: complaint, praise.",
                }
            },
            "it has 2 values (complaint, praise): labels",
        ),
        (
            "contract",
            {
                "columns": {"instruction": "{query}", "response": "{reply}", "context": "{contract}"},
                "group": "{doc}",
            },
            "`doc` repeats 4 times a value",
        ),
        ("chinese", {"columns": {"instruction": "{问题}", "response": "{答案}"}}, "`答案` is the answer"),
        ("unnamed", {"columns": {"instruction": "{one}", "response": "{two}"}}, "no column is named like an answer"),
        ("text", {"format": "text", "ignore_columns": ["url"]}, "each row is a raw text"),
    ],
)
def test_columns_find_their_places_and_each_guess_says_why(shape, entry, why):
    found = guess(make_rows(shape))
    assert found.entry == entry
    assert any(why in reason for reason in found.reasons), found.reasons


def test_what_is_guessed_without_a_name_is_in_doubt():
    assert [doubt.role for doubt in guess(make_rows("unnamed")).doubts] == ["answer"]
    assert guess(make_rows("faq")).doubts == []


def test_a_long_column_that_differs_is_a_context_whatever_its_name():
    rows = [{"zzz": row.pop("passage"), **row} for row in make_rows("passage")]
    found = guess(rows)
    assert found.entry["columns"]["context"] == "{zzz}"
    assert any("`zzz` is long and differs from row to row: context" in reason for reason in found.reasons)


def test_a_group_that_is_too_coarse_or_has_holes_is_none():
    rows = make_rows("faq")
    coarse = [{**row, "customer_id": f"c{number % 3}"} for number, row in enumerate(rows)]
    holes = [{**row, "customer_id": row["customer_id"] if number else None} for number, row in enumerate(rows)]
    for some in (coarse, holes):
        assert "group" not in guess(some).entry


def test_places_in_a_list_of_options_are_warned_of():
    rows = [{**row, "answer": number % 4} for number, row in enumerate(make_rows("options"))]
    assert "places in `options`" in guess(rows).warnings[0]


def test_lists_in_columns_of_any_name_become_text():
    """Options under other names than ours, and an answer that is a list of what several people said."""
    rows = make_rows("options")
    listed = [{"query": row["question"], "choices": row["options"], "gold": row["answer"]} for row in rows]
    assert guess(listed).entry["columns"] == {"instruction": "{query}\n\n{choices}", "response": "{gold}"}
    said = [{"question": row["question"], "answers": {"start": [1], "text": [row["answer"]]}} for row in rows]
    found = guess(said)
    assert found.entry["columns"]["response"] == "{answers}" and "the first text counts" in found.reasons[0]
    first = map_columns(found.entry["columns"], said[0])
    assert first[-1]["content"] == rows[0]["answer"]
    asked = map_columns(guess(listed).entry["columns"], listed[0])[0]["content"]
    assert asked == rows[0]["question"] + "\n\n" + "\n".join(f"- {option}" for option in rows[0]["options"])


def test_numbers_are_no_question_and_no_answer():
    with pytest.raises(Stop, match="no column can be the answer among a, b"):
        guess([{"a": str(number), "b": str(2 * number)} for number in range(60)])


def test_repetition_is_counted_in_flat_memory():
    counts = ValueCounts()
    for number in range(60_000):
        counts.add(f"value {number % 20_000}")
    assert len(counts.counts) <= 2 * MOST_VALUES and not counts.is_whole
    assert abs(counts.distinct - 20_000) < 2_000 and abs(counts.repeats - 3) < 0.1
    few = ValueCounts()
    for number in range(900):
        few.add(str(number % 3))
    assert few.is_whole and few.find_most_common() == [("0", 300), ("1", 300), ("2", 300)]


def test_the_sample_is_fair_and_has_a_limit():
    table = TableProfile()
    table.add_rows(Row(number, {"n": number}) for number in range(3 * SAMPLED))
    seen = [row["n"] for row in table.sample]
    assert len(seen) == SAMPLED and len(set(seen)) == SAMPLED
    assert abs(sum(number < SAMPLED for number in seen) - SAMPLED / 3) < SAMPLED / 20
    assert table.copies == 0


def test_copies_are_counted():
    table = TableProfile()
    table.add_rows(Row(number, {"question": str(number % 100)}) for number in range(400))
    assert table.copies == 300


@pytest.mark.parametrize(
    ("labels", "pattern", "finds", "passes"),
    [
        (["yes", "no", "maybe"], r"(?i)\b(?:maybe|yes|no)\b", "No, it is not", "nothing"),
        (["A", "B"], r"\b(?:A|B)\b", "B", "a word"),
        (["0", "1"], r"\b(?:0|1)\b", "1", "10"),
        (["正面", "负面"], "(?:正面|负面)", "答案：正面。", "中性"),
        (["C++", "C"], "(?i)(?:C\\+\\+|C)", "C++", "D"),
    ],
)
def test_label_patterns_find_labels_whole(labels, pattern, finds, passes):
    assert write_label_pattern(labels).replace("(?i)", "") == pattern.replace("(?i)", "")
    assert re.search(write_label_pattern(labels), finds) and not re.search(write_label_pattern(labels), passes)


def test_encodings_and_delimiters_are_found():
    text = "Frage;Antwort\nWie heißt der Schlüssel für die Tür?;Er heißt für alle Räume gleich, natürlich.\n" * 5
    assert detect_encoding(text.encode()) is None
    assert text.encode("cp1252").decode(detect_encoding(text.encode("cp1252"))) == text
    assert text.encode("utf-16").decode(detect_encoding(text.encode("utf-16"))).lstrip("\ufeff") == text
    assert detect_delimiter(text, ".csv") == ";"
    assert detect_delimiter('a,b\n"x;y;z",2\n', ".csv") is None
    assert detect_delimiter("a\tb\nx\ty\n", ".tsv") is None
    assert detect_delimiter("sep=;\na;b\nx;y\n", ".csv") == ";"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """What `start` reads and writes of a repository, in a folder of its own."""
    folder = tmp_path / "project"
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml", "NOTICE", "data/raw/README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for name in ("data/general", "stages", "tunelock"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    return folder


def write_csv(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_start_writes_params_and_papers_and_runs_nothing(project):
    write_csv(project / "data/raw/faq.csv", make_rows("faq"))
    before = Path("params.yaml").read_text()
    done = run_tunelock("start", "data/raw/faq.csv", "--yes", "--title", "Our tools", "--licence", "CC0-1.0")
    assert done.exit_code == 0, done.stderr
    params, text = load_yaml("params.yaml"), Path("params.yaml").read_text()
    assert find_problems(params) == []
    assert params["sources"] == {
        "faq": {
            "path": "data/raw/faq.csv", "format": "qa", "group": "{customer_id}", "ignore_columns": ["id"],
            "licence": "CC0-1.0",
        }
    }  # fmt: skip
    assert (params["golden_groups"], params["max_train_samples"]) == (None, None)
    assert params["gate"]["test_perplexity_tuned"] == "<= base" and params["gate"]["retention"] == ">= 0.95"
    assert params["golden_ratio"] > 0 and params["label_patterns"] is None
    kept = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in text.splitlines() if line.startswith("#")] == kept
    about = parse_about_data(Path("data/raw/README.md").read_text())
    assert (about.title, about.describes) == ("Our tools", ["data/raw/faq.csv"]) and "weakness" not in about.prose
    assert "MITRE" not in Path("NOTICE").read_text() and "CC0-1.0" in Path("NOTICE").read_text()
    assert "+  faq:" in done.stdout and "dvc repro" in done.stdout and "warning: the data is small" in done.stdout
    assert not Path("data/records").exists()


def test_without_a_terminal_it_says_what_it_would_ask(project):
    write_csv(project / "data/raw/faq.csv", make_rows("faq"))
    before = Path("params.yaml").read_text()
    done = run_tunelock("start", "data/raw/faq.csv")
    assert done.exit_code == 1 and "Add --yes" in done.stderr and "licence" in done.stderr
    assert Path("params.yaml").read_text() == before


def test_a_person_is_asked_and_a_dry_run_writes_nothing(project, monkeypatch):
    monkeypatch.setattr("tunelock.commands.start._has_terminal", lambda: True)
    write_lines(project / "pairs.jsonl", make_rows("unnamed"))
    before = Path("params.yaml").read_text()
    answers = "one\ny\nTurned around\nCC0-1.0\nNone.\n"
    done = run_tunelock("start", "pairs.jsonl", "--dry-run", input=answers)
    assert done.exit_code == 0, done.stderr
    assert "instruction: '{two}'" in done.stdout and "nothing is written" in done.stdout
    assert Path("params.yaml").read_text() == before and not Path("data/raw/pairs.jsonl").exists()


def test_files_from_elsewhere_are_copied_and_those_with_other_columns_are_another_source(project, tmp_path):
    folder = tmp_path / "export"
    (folder / "more").mkdir(parents=True)
    write_csv(folder / "a.csv", make_rows("faq")[:60])
    write_csv(folder / "more/b.csv", make_rows("faq")[60:])
    write_lines(folder / "labels.jsonl", make_rows("classes"))
    (folder / "README.md").write_text("# What this is\n")
    done = run_tunelock("start", folder, "--yes")
    assert done.exit_code == 0, done.stderr
    sources = load_yaml("params.yaml")["sources"]
    assert {name: source["path"] for name, source in sources.items()} == {
        "export": "data/raw/export/**/*.csv", "labels": "data/raw/export/labels.jsonl",
    }  # fmt: skip
    assert sources["labels"]["task"] == "labels" and load_yaml("params.yaml")["min_response_chars"] == 1
    assert load_yaml("params.yaml")["label_patterns"] == {"labels": r"(?i)\b(?:complaint|praise)\b"}
    assert Path("data/raw/export/more/b.csv").exists() and "README.md: about the data, not read" in done.stdout
    assert "no licence is stated" in done.stderr


def test_a_page_that_a_person_wrote_stays(project):
    write_csv(project / "data/raw/faq.csv", make_rows("faq"))
    Path("data/raw/README.md").write_text(format_about_data(AboutData(title="Old", prose="Mine, word for word.")))
    assert run_tunelock("start", "data/raw/faq.csv", "--yes", "--title", "New").exit_code == 0
    about = parse_about_data(Path("data/raw/README.md").read_text())
    assert (about.title, about.prose) == ("New", "Mine, word for word.")


def test_a_folder_of_documents_is_one_source(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.md").write_text(f"# Chapter {number}\n\nText.\n")
    (tmp_path / "README.md").write_text("# Begin here\n")
    (found,) = find_file_sets(tmp_path)
    assert found.is_document and len(found.files) == 4 and found.path == tmp_path.as_posix()


def test_what_becomes_no_record_is_named(project):
    write_lines(project / "data/raw/bad.jsonl", [{"messages": [{"role": "user", "content": "Hi?"}]}] * 30)
    done = run_tunelock("start", "data/raw/bad.jsonl", "--yes")
    assert done.exit_code == 1 and re.search(r"no row of data/raw/bad.jsonl becomes a record \(\w+: 30\)", done.stderr)


def test_rows_that_are_alike_are_told_and_a_shared_passage_does_not_count(project):
    rows = make_rows("contract")
    for row in rows:
        row["contract"] = f"{row['doc']} " + rows[4 * row["doc"]]["contract"]
    write_lines(project / "data/raw/shared.jsonl", rows)
    done = run_tunelock("start", "data/raw/shared.jsonl", "--yes", "--dry-run")
    assert done.exit_code == 0 and "are alike others" not in done.stdout
    same = "Hold the button for ten seconds, wait for the light to blink twice, then let it go and close the lid again."
    write_lines(
        project / "data/raw/alike.jsonl", [{"question": f"Reset device {n}?", "answer": same} for n in range(60)]
    )
    done = run_tunelock("start", "data/raw/alike.jsonl", "--yes", "--dry-run")
    assert "98% of 60 sampled rows are alike others" in done.stdout


def test_too_few_rows_to_divide_stop(project):
    write_lines(project / "data/raw/few.jsonl", make_rows("alpaca")[:5])
    done = run_tunelock("start", "data/raw/few.jsonl", "--yes")
    assert done.exit_code == 1 and "5 group(s) of rows cannot be divided" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["alpaca", "faq", "options", "lettered", "chat", "classes", "contract", "chinese"])
def test_a_shape_comes_to_a_split_without_a_hand_on_params(project, shape):
    """validate, ingest, clean and split run on what `start` wrote, and every row is accounted for."""
    from stages import clean, ingest, split, validate

    write_lines(project / f"data/raw/{shape}.jsonl", make_rows(shape))
    assert run_tunelock("start", f"data/raw/{shape}.jsonl", "--yes").exit_code == 0
    Path("models/base").mkdir(parents=True)
    Path("models/base/tokenizer.json").write_text("{}")  # a dependency of clean, which reads it for a limit in tokens
    for stage in (validate, ingest, clean, split):
        stage.main()
    ledger = [json.loads(line) for line in Path("data/clean/ledger.jsonl").read_text().splitlines()]
    assert len(ledger) == ROWS
    counts = json.loads(Path("metrics/split.json").read_text())
    assert all(counts[name]["rows"] > 0 for name in ("train", "val", "test", "golden"))
    kept = sum(row["status"] == "kept" for row in ledger)
    held = sum(counts[name]["rows"] for name in ("train", "val", "test", "golden"))
    assert kept >= 0.9 * ROWS and held + sum(counts["left_out"].values()) == kept
