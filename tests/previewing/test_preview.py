"""The preview: which rows it shows, what it says of those that are left out, colours, lengths, a tokenizer alone."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.command_line import run_tunelock, unwrapped
from tests.walls import ROOT
from tunelock.previewing.length_histogram import summarise_lengths_of_rows
from tunelock.previewing.preview_screen import PreviewScreen
from tunelock.previewing.preview_tokenizer import find_tokenizer
from tunelock.previewing.reasons import explain_reason
from tunelock.previewing.row_choice import RowChoice, RowRange, parse_ranges
from tunelock.previewing.shown_rows import Looking
from tunelock.previewing.source_preview import make_source, preview_source
from tunelock.records.record import make_messages
from tunelock.rendering.rendering import Rendering
from tunelock.run.files import write_jsonl
from tunelock.run.hashing import sha256_path
from tunelock.run.params import load_yaml

EVERY = RowChoice()


@pytest.fixture
def project(tmp_path, monkeypatch, tiny_model) -> dict:
    """A folder with a source `faq` of 60 rows, and the tiny model as base to come."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNELOCK_CACHE", str(tmp_path / "cache"))
    rows = [
        {"question": f"How is {number}?", "answer": f"Like {number}.", "kind": "ab"[number % 2], "note": "seen"}
        for number in range(1, 61)
    ]
    write_jsonl("data/raw/faq.jsonl", [*rows, {"question": "Why?", "answer": "", "kind": "a", "note": "seen"}])
    params = load_yaml(ROOT / "params.yaml") | {
        "sources": {"faq": {"path": "data/raw/faq.jsonl", "task": "{kind}", "ignore_columns": None}},
        "model_name_or_path": str(tiny_model),
        "model_revision": sha256_path(tiny_model),
    }
    return write_params(params)


def write_params(params: dict) -> dict:
    Path("params.yaml").write_text(json.dumps(params))
    return params


def said(*arguments: str, code: int = 0) -> str:
    done = run_tunelock("preview", *arguments)
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("40", ((40, 40),)),
        ("40-45", ((40, 45),)),
        ("40-", ((40, None),)),
        ("3, 40-45,7", ((3, 3), (40, 45), (7, 7))),
    ],
)
def test_rows_are_asked_for_by_number_range_and_list(text, ranges):
    assert parse_ranges(text) == tuple(RowRange(*one) for one in ranges)


@pytest.mark.parametrize("text", ["", "x", "5-2", "-3", "1,,2", "1.5"])
def test_what_is_no_row_is_refused(text):
    with pytest.raises(ValueError, match=r"no row|begins"):
        parse_ranges(text)


def test_without_a_path_the_sources_of_params_yaml_are_shown(project):
    out = said()
    assert out.startswith("source faq\ndata/raw/faq.jsonl: qa\n61 rows read: 60 records, 1 left out\n")
    assert out == said("faq") and len(re.findall("^--- ", out, re.MULTILINE)) == 3
    assert "task b, group" in out and re.search(r"^faq-[0-9a-f]{16}$", out, re.MULTILINE)
    assert "    empty_answer: 1\n        an answer is empty\n        such as data/raw/faq.jsonl:61:" in out
    assert "no part of a record: note (60 rows), such as seen" in out


def test_a_name_that_is_none_is_told_with_those_that_are(project):
    assert "'fap' is neither a file nor a source; did you mean 'faq'? The sources are faq." in said("fap", code=1)
    write_params(project | {"sources": None})
    assert "params.yaml has no source yet" in said(code=1)


def test_rows_are_shown_that_are_asked_for_and_no_others(project):
    out = said("faq", "--rows", "40-42,61")
    assert re.findall(r"^--- \S+ row (\d+)", out, re.MULTILINE) == ["40", "41", "42", "61"]
    assert "⟦Like 41.<|im_end|>⟧" in out and "left out, empty_answer: an answer is empty" in out
    assert re.findall(r"^--- \S+ row (\d+)", said("--rows", "59-", "--task", "a"), re.MULTILINE) == ["60"]
    [name] = re.findall("faq-[0-9a-f]{16}", said("--rows", "7"))
    [group] = re.findall("group ([0-9a-f]{16})", said("--id", name))
    assert "⟦Like 7.<|im_end|>⟧" in said("data/raw/faq.jsonl", "--group", group)
    assert said("--rows", "1-50", "-n", "2").count("\n--- ") == 2


def test_rows_behind_those_that_are_read_at_once_are_found(project, monkeypatch):
    monkeypatch.setattr("tunelock.previewing.source_preview.MOST_ROWS", 10)
    out = said("--rows", "50")
    assert "the first 10 rows read: 10 records" in out and "⟦Like 50.<|im_end|>⟧" in out


def test_what_is_not_there_is_told_with_what_is(project):
    assert "no row of data/raw/faq.jsonl is task 'c'" in said("--task", "c", code=1)
    assert "Its tasks are a, b." in said("--task", "c", code=1)
    assert "its rows are 1 to 61" in said("--rows", "99", code=1)
    assert run_tunelock("preview", "--rows", "5-2").exit_code == 2


LEFT_OUT = {
    "data/clean/dropped.jsonl": [
        {"reason": "too_long", "status": "dropped", "id": "faq-1", "file": "f.csv", "line": 3, "source": "faq",
         "task": "a", "group": "g", "messages": make_messages("Why?", "", "So.")},
    ],
    "data/clean/set_aside.jsonl": [
        {"reason": "missing_column 'reply'", "status": "set_aside", "file": "f.csv", "line": 4, "source": "faq",
         "raw": '{"question": "Why?"}'},
    ],
    "data/split/left_out.jsonl": [
        {"reason": "ngram_overlap", "because": "faq-9", "id": "faq-2", "file": "f.csv", "line": 5, "source": "faq",
         "task": "a", "group": "g", "messages": make_messages("How?", "", "So.")},
    ],
}  # fmt: skip


def test_rows_that_stages_left_out_are_shown_by_reason_in_words_with_the_param(project):
    assert "no stage has left out a row" in said("--dropped", "too_long", code=1)
    for path, rows in LEFT_OUT.items():
        write_jsonl(path, rows)
    out = said("--dropped", "too_long")
    assert "too_long: 1\n        its answer is longer than the limit (max_response_chars: 1200)" in out
    assert "--- f.csv, row 3" in out and "⟦So.<|im_end|>⟧" in out and "f.csv, row 4" not in out
    out = said("--dropped", "missing_column")
    assert "it lacks a column that a template asks for: 'reply'" in out and '{"question": "Why?"}' in out
    out = said("faq", "--dropped", "ngram_overlap")
    assert "because of faq-9" in out and "decontaminate:" in out
    assert [said("--dropped", "all").count(f"row {line}") for line in (3, 4, 5)] == [1, 1, 1]
    wrong = said("--dropped", "to_long", code=1)
    assert "did you mean 'too_long'?" in wrong and "ngram_overlap (1)" in wrong
    found = json.loads(said("--dropped", "too_long", "--json"))
    assert [reason["ruled_by"] for reason in found["reasons"]] == ["max_response_chars: 1200"]


def test_the_tokenizer_is_fetched_alone_before_the_base_is_there(project, real_gguf, tiny_model):
    assert "tokens, " in said("--rows", "1") and not Path("models").exists()
    write_params(project | {"model_name_or_path": str(real_gguf), "model_revision": sha256_path(real_gguf)})
    made = find_tokenizer(None, load_yaml("params.yaml")).tokenizer
    again = find_tokenizer(None, load_yaml("params.yaml")).tokenizer  # kept, for to make it takes seconds
    text = "Größe: 房子的租金\n\n<|im_end|> 👍🏽"
    assert made.encode(text) == again.encode(text) == find_tokenizer(tiny_model, {}).tokenizer.encode(text)
    assert not Path("models").exists()


def test_without_any_tokenizer_the_rows_are_shown_and_the_reason_is_said(project):
    write_params(project | {"model_revision": "0" * 64})
    done = run_tunelock("preview", "--rows", "1")
    assert done.exit_code == 0 and "How is 1?" in done.stdout and "characters of a row" in done.stdout
    assert "tokens are not shown, for" in unwrapped(done.stderr) and "has sha256" in unwrapped(done.stderr)


def test_several_sources_are_a_mapping_in_json_and_a_fault_of_one_does_not_hide_the_others(project):
    sources = project["sources"] | {"gone": {"path": "data/raw/gone.jsonl"}}
    write_params(project | {"sources": sources})
    done = run_tunelock("preview", "--json")
    assert done.exit_code == 1 and "data/raw/gone.jsonl is missing" in done.stderr
    found = json.loads(done.stdout)["faq"]
    assert found["unused"][0]["name"] == "note" and found["reasons"][0]["words"] == "an answer is empty"
    tokens = found["lengths"][1]
    assert (tokens["unit"], tokens["rows"], tokens["above_limit"]) == ("tokens", 60, 0)
    learnt = [piece["text"] for piece in found["examples"][0]["pieces"] if piece["learnt"]]
    assert "".join(learnt) == "Like 1.<|im_end|>"


def test_a_preview_into_a_pipe_that_closes_ends_quietly(project):
    Path("models").mkdir()
    Path("models/base").symlink_to(project["model_name_or_path"])
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m tunelock preview -n 60 | head -n 1"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "source faq\n" and done.stderr == ""


def show(source: str, tokenizer, width: int = 80, whole: bool = False, **console) -> str:
    """What a terminal of that width is sent for a file."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, **console)
    looking = Looking(tokenizer, Rendering(64), load_yaml(ROOT / "params.yaml"))
    PreviewScreen(whole, screen).show_preview(
        None, preview_source("preview", make_source(source, None), looking, EVERY, 3)
    )
    return screen.file.getvalue()


@pytest.fixture
def chats(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    said = [
        ("user", "房子的租金是多少？"),
        ("assistant", "每月一千元。"),
        ("user", "كيف حالك؟ \u202e\x1b[31m"),
        ("assistant", "[bold] شكرا"),
    ]
    long = [("user", "The tenant pays. " * 400), ("assistant", "Yes.")]
    rows = [{"messages": [{"role": role, "content": text} for role, text in turns]} for turns in (said, long)]
    write_jsonl("chats.jsonl", rows)
    return "chats.jsonl"


def test_a_terminal_shows_what_is_learnt_in_colour_with_a_legend_and_no_plain_marks(chats, tokenizer):
    out = show(chats, tokenizer, color_system="truecolor")
    assert "\x1b[1;32m每月一千元。" in out and "\x1b[1;32m[bold] شكرا" in out and "⟦" not in out
    assert "\x1b[35m<|im_start|>" in out and "learnt from" in out.splitlines()[-1]
    assert "\u202e" not in out and "\x1b[31m\x1b" not in out  # the row's own control characters


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_longer_than_the_terminal(chats, tokenizer, width):
    out = show(chats, tokenizer, width, color_system=None)
    assert all(Console().measure(line).maximum <= width for line in out.splitlines())
    assert "⟦每月一千元。<|im_end|>⟧" in out  # without colours the plain marks


def test_a_long_row_is_shown_without_its_middle_unless_all_of_it_is_asked_for(chats, tokenizer):
    out = show(chats, tokenizer, color_system="truecolor")
    assert "characters more, --whole shows them" in out and out.count("The tenant") < 200
    assert "── max_length 64 ──" in out and "longer than max_length 64: set aside" in out
    assert show(chats, tokenizer, whole=True, color_system="truecolor").count("tenant") > 350


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=99), st.integers(32, 4096) | st.none())
def test_a_histogram_has_each_row_once_and_ends_a_class_at_the_limit(values, limit):
    found = summarise_lengths_of_rows("tokens", values, limit)
    assert sum(one.rows for one in found.classes) == len(values) and len(found.classes) <= 8
    for one in found.classes:
        inside = [value for value in values if one.start <= value and (one.stop is None or value < one.stop)]
        assert one.rows == len(inside)
    if limit and max(values) > limit:
        assert sum(one.rows for one in found.classes if one.start > limit) == found.above_limit > 0


def test_each_reason_of_the_readers_and_rules_has_words_of_its_own():
    code = "\n".join(
        path.read_text() for room in ("reading", "records") for path in (ROOT / "tunelock" / room).glob("*.py")
    )
    reasons = set(re.findall(r'(?:Unfit|Fault\(\w+,) ?\(?"([a-z_]+)"', code)) | set(
        re.findall(r'_Rule\("([a-z_]+)"', code)
    )
    assert len(reasons) > 15
    params = load_yaml(ROOT / "params.yaml")
    for reason in reasons - {"does_not_fit"}:  # of convert alone
        assert explain_reason(reason, params).words != reason.replace("_", " "), reason
    assert explain_reason("max_train_samples", params).ruled_by == "max_train_samples: 640"
    assert explain_reason("pii_secret", params).words.endswith("secret")
