"""`tunelock verify` says whether a package is as it was packed, in words, in JSON and by its exit code."""

import json
from pathlib import Path

import pytest

from tests.command_line import run_tunelock
from tunelock.shipping.packing import pack_files


@pytest.fixture
def whole(tmp_path) -> Path:
    pack_files({"NOTICE": b"CWE by MITRE\n"}, tmp_path / "whole.tar.gz")
    return tmp_path / "whole.tar.gz"


@pytest.fixture
def without_notice(tmp_path, monkeypatch) -> Path:
    """A package whose SHA256SUMS names a file that is not in it."""
    monkeypatch.setattr("tunelock.shipping.packing.SUMS", "OTHER")
    pack_files({"SHA256SUMS": b"ab  NOTICE\n"}, tmp_path / "broken.tar.gz")
    monkeypatch.undo()
    return tmp_path / "broken.tar.gz"


def test_all_is_well_with_exit_code_0(whole):
    done = run_tunelock("verify", str(whole))
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{whole}: every file is as it was packed\n", "")


def test_a_file_that_is_missing_is_named_with_exit_code_1(without_notice):
    done = run_tunelock("verify", str(without_notice))
    assert (done.exit_code, done.stdout) == (1, "")
    said = f"tunelock verify: {without_notice} is not as it was packed:\n  NOTICE: is missing\n  OTHER: was added\n"
    assert done.stderr == said


def test_a_script_reads_the_same_as_json(whole, without_notice):
    done = run_tunelock("verify", "--json", str(whole))
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"file": str(whole), "problems": []})
    done = run_tunelock("verify", "--json", str(without_notice))
    problems = ["NOTICE: is missing", "OTHER: was added"]
    assert (done.exit_code, json.loads(done.stdout)["problems"]) == (1, problems)
