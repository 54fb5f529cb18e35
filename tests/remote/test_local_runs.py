"""Out and back on this machine, by the way that every host goes: submit, run, pull, apply."""

import json
import os
import signal
import time

import pytest

from tests.command_line import run_tunelock
from tests.remote.toy import list_processes, run, write_remote_yaml
from tests.remote.waiting import status, submit, wait_for, wait_for_process


def test_a_dirty_workspace_goes_out_and_comes_back_as_an_experiment(project):
    (project / "data.txt").write_text("a row\nanother row\n")
    before = run(["git", "status", "--porcelain=v2"], project)
    job = submit("-n", "fast", "-S", "params.json:rate=3")
    wait_for(job, "done")
    pulled = run_tunelock("remote", "pull", "fast")
    assert pulled.exit_code == 0 and "fast is an experiment here" in pulled.stdout
    assert run(["git", "status", "--porcelain=v2"], project) == before
    shown = json.loads(run(["dvc", "exp", "show", "--json"], project))
    experiments = [one["name"] for branch in shown for one in branch["experiments"] or [] for one in one["revs"]]
    assert experiments == ["fast"]
    run(["dvc", "exp", "apply", "fast"], project)
    assert "Running stage" not in run(["dvc", "repro"], project)
    assert (project / "out/score.txt").read_text() == (
        "a row\nanother row\nprepare rate=3\ntrain rate=3\nscore rate=3\n"
    )
    again = run_tunelock("remote", "pull", "fast", "--json")
    assert json.loads(again.stdout)[0]["fetched"] == 0


def test_a_job_that_fails_tells_the_sentence_of_its_stage(project):
    job = submit("-n", "bad", "-S", "params.json:fail=train")
    assert wait_for(job, "failed")["cause"] == "train: the learning rate 1 is too high; set `rate` in params.json."
    refused = run_tunelock("remote", "pull", "bad")
    assert refused.exit_code == 1 and "train: the learning rate 1 is too high" in refused.stderr
    assert not run(["git", "for-each-ref", "refs/exps"], project)


def test_one_job_runs_at_a_time_and_cancel_leaves_nothing_running(project):
    first = submit("-n", "slow", "-S", "params.json:seconds=60")
    wait_for(first, "running")
    second = submit("-n", "next")
    assert wait_for(second, "queued")["state"] == "queued"
    wait_for_process(project, "stage.py train")
    cancelled = run_tunelock("remote", "cancel", "slow")
    assert cancelled.stdout == f"{first} is cancelled.\n", (cancelled.output, status(first))
    assert status(first)["state"] == "cancelled"
    assert not list_processes(project.parent / "the höst", "stage.py train")
    wait_for(second, "done")


def test_a_job_that_was_killed_is_found_dead_and_goes_on(project):
    job = submit("-n", "slow", "-S", "params.json:seconds=3")
    wait_for_process(project, "stage.py train")
    os.killpg(status(job)["pid"], signal.SIGKILL)
    dead = status(job)
    assert dead["state"] == "failed" and f"`tunelock remote resume {job}`" in dead["cause"]
    assert not list_processes(project.parent / "the höst", "stage.py")
    assert run_tunelock("remote", "resume", "slow").exit_code == 0
    assert wait_for(job, "done")["attempt"] == 2


def test_a_job_past_its_time_limit_stops_by_itself(project):
    write_remote_yaml(project, project.parent / "the höst", time_limit="3s", signal_before="1s")
    job = submit("-n", "slow", "-S", "params.json:seconds=60")
    until = time.monotonic() + 60
    while (found := status(job))["state"] != "stopped":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert "its time is over" in found["cause"]
    assert not list_processes(project.parent / "the höst", "stage.py")
    write_remote_yaml(project, project.parent / "the höst", time_limit="1h")
    assert run_tunelock("remote", "resume", "slow").exit_code == 0
    (now,) = json.loads(run_tunelock("remote", "status", "slow", "--json").stdout)
    assert now["order"]["time_limit_s"] == 3600
    assert run_tunelock("remote", "cancel", "slow").exit_code == 0


def test_a_setup_that_fails_ends_the_job_and_says_so(project):
    write_remote_yaml(project, project.parent / "the höst", setup="no_such_program")
    job = submit("-n", "loaded")
    assert "`setup` of remote.yaml failed with exit code 127" in wait_for(job, "failed")["cause"]


def test_a_stage_does_not_outlive_dvc(project):
    job = submit("-n", "slow", "-S", "params.json:seconds=60")
    wait_for_process(project, "stage.py train")
    os.kill(status(job)["run_pid"], signal.SIGKILL)
    assert "was killed there by SIGKILL" in wait_for(job, "failed")["cause"]
    assert not list_processes(project.parent / "the höst", "stage.py")


@pytest.mark.parametrize("name", ["a/b", "with space", "a..b", "-x", "x.lock", "a;rm", "x" * 61])
def test_a_name_that_would_be_lost_is_refused_before_anything_is_sent(project, name):
    refused = run_tunelock("remote", "submit", "here", f"--name={name}")
    assert refused.exit_code == 1 and f"-n {name}: a name has letters" in refused.stderr
    assert not (project.parent / "the höst").exists()


def test_a_folder_with_jobs_of_another_repository_is_refused(project, tmp_path):
    wait_for(submit("-n", "mine"), "done")
    run(["git", "checkout", "-q", "--orphan", "another"], project)
    run(["git", "commit", "-qm", "another first commit"], project)
    refused = run_tunelock("remote", "submit", "here")
    assert refused.exit_code == 1 and "holds jobs of another repository" in refused.stderr
