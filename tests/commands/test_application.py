"""`tunelock` as a whole: its help, its commands, its exit codes, and that it starts at once."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.command_line import run_tunelock, unwrapped
from tests.conftest import ROOT
from tunelock.commands.application import PANELS, application

HEAVY = ("torch", "transformers", "numpy", "pydantic", "ruamel", "dvc", "jinja2", "prompt_toolkit", "matplotlib")


def list_commands(group=None, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command, those of groups too."""
    group = group or typer.main.get_command(application)
    found = []
    for name, command in group.commands.items():
        found.append((*before, name))
        if hasattr(command, "commands"):
            found += list_commands(command, (*before, name))
    return found


COMMANDS = list_commands()


def test_every_command_is_there():
    assert {" ".join(words) for words in COMMANDS} == {
        "start", "chat", "preview", "report", "review", "review count", "configure", "estimate", "convert", "harness",
        "seeds", "verify", "pr", "pr comment", "pr gate", "remote", "remote submit", "remote status", "remote watch",
        "remote logs", "remote cancel", "remote resume", "remote pull", "remote doctor", "remote verdict",
    }  # fmt: skip


def test_the_help_fits_a_screen_in_groups(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = run_tunelock("--help")
    lines = done.stdout.rstrip().splitlines()
    assert done.exit_code == 0 and len(lines) <= 31 and max(map(len, lines)) <= 80
    assert re.findall(r"╭─ ([\w ]+?) ─", done.stdout) == ["Options", *PANELS]
    assert run_tunelock().stdout.rstrip() == done.stdout.rstrip()  # without a command, the help too


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_has_a_help_with_an_example_of_itself(words):
    done = run_tunelock(*words, "--help")
    assert done.exit_code == 0
    example = unwrapped(done.stdout).partition("Example: ")[2]
    assert f"tunelock {' '.join(words)}" in example


def test_usage_that_is_wrong_exits_with_2_and_nothing_on_stdout():
    for words in (["nope"], ["verify"], ["verify", "--nope", "x"], ["pr", "nope"], ["chat", "a", "b"]):
        done = run_tunelock(*words)
        assert (done.exit_code, done.stdout) == (2, ""), words
    assert "Did you mean 'verify'?" in run_tunelock("verfy").stderr


def test_a_command_module_imports_nothing_heavy_at_its_top():
    code = f"import sys, tunelock.__main__; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_command_module_holds_one_command_or_a_group_or_a_part_of_one():
    shared = {"application", "options"}
    modules = {path.stem.partition("_")[0] for path in (ROOT / "tunelock/commands").glob("[a-z]*.py")} - shared
    assert modules == {words[0] for words in COMMANDS}


def test_no_argparse_outside_the_benchmarks():
    for wing in ("stages", "tunelock"):
        for path in (ROOT / wing).rglob("*.py"):
            tree = ast.parse(path.read_text())
            names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
            assert not {"argparse", "runpy"} & names, path


def test_no_sentence_names_a_command_by_its_old_name():
    old = re.compile(r"python -m (?:tunelock\.commands|stages\.(?:chat|package verify|ingest (?:preview|convert)))")
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md", "*.yaml", "*.jinja", "Makefile"], cwd=ROOT,
                            capture_output=True, text=True, check=True)  # fmt: skip
    files = [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    assert [file for file in files if file != Path(__file__) and old.search(file.read_text(encoding="utf-8"))] == []


def test_words_are_completed(monkeypatch):
    monkeypatch.setenv("COMP_WORDS", "tunelock estimate --gpu l")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setenv("_TUNELOCK_COMPLETE", "complete_bash")
    code = "from tunelock.commands.application import application; application(prog_name='tunelock')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["l4"]


def test_json_is_json_and_nothing_else(monkeypatch):
    monkeypatch.chdir(ROOT)
    done = run_tunelock("report", "--table", "--json")
    assert json.loads(done.stdout)["claim"] and not done.stderr


def test_a_folder_that_cannot_be_written_ends_in_a_sentence(monkeypatch):
    def refuse(*_) -> None:
        raise PermissionError(13, "Permission denied", "report.html")

    monkeypatch.setattr("tunelock.commands.report._write_report_page", refuse)
    done = run_tunelock("report")
    assert (done.exit_code, done.stderr) == (1, "tunelock report: cannot write report.html (Permission denied).\n")
