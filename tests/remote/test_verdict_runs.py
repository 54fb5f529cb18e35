"""A locked experiment made again on a host, and what is said of it."""

import json

from tests.command_line import run_tunelock, unwrapped
from tests.remote.toy import run, write_remote_yaml


def test_the_same_machine_makes_the_same_and_leaves_nothing_there(project):
    run(["git", "rm", "-q", "--cached", "data.txt"], project)
    run(["dvc", "add", "-q", "data.txt"], project)  # data that no stage makes is sent
    run(["git", "add", "-A"], project)
    run(["git", "commit", "-qm", "data in DVC"], project)
    said = run_tunelock("remote", "verdict", "HEAD")
    assert said.exit_code == 0 and said.stdout.startswith("Identical.")
    assert not list((project.parent / "the höst/jobs").iterdir())
    cached = [path for path in (project.parent / "the höst/cache").rglob("*") if path.is_file()]
    assert [path.read_text() for path in cached] == ["a row\n"]  # no result was taken out of a cache


def test_what_the_machine_has_a_part_in_is_different_from_the_stage_on_that_it_enters(project):
    write_remote_yaml(project, project.parent / "the höst", setup="export WOBBLE=0.1")
    said = json.loads(run_tunelock("remote", "verdict", "HEAD", "here", "--json").stdout)
    assert (said["verdict"], said["first_stage"]) == ("different", "train")
    assert "no repeats" in said["reason"]


def test_a_metric_that_was_edited_by_hand_is_named_before_anything_runs(project):
    (project / "metrics/score.json").write_text('{"loss": 0.5}')
    run(["git", "commit", "-qam", "a better loss"], project)
    said = run_tunelock("remote", "verdict", "HEAD", "here")
    assert said.exit_code == 1 and "metrics/score.json" in unwrapped(said.stdout) and "score" in said.stdout
    assert not (project.parent / "the höst").exists()
