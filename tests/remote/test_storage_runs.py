"""Out and back through a storage: neither inputs nor results pass ssh, and the experiment here is the same."""

import json
import shutil
import time
from pathlib import Path

from tests.command_line import run_tunelock
from tests.remote.conftest import AWS_KEYS, NOBODY
from tests.remote.toy import make_project, run, write_remote_yaml


def ask(*words: str):
    """What a command of `tunelock remote` says as JSON."""
    done = run_tunelock("remote", *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def wait_for_end(job: str) -> dict:
    until = time.monotonic() + 180
    while (state := ask("status", job, "--host", "here")[0]["state"])["state"] not in ("done", "failed", "stopped"):
        assert time.monotonic() < until, state
        time.sleep(0.3)
    return state


def test_a_run_goes_out_and_comes_back_through_a_bucket(aws, tmp_path, monkeypatch):
    storage = {"storage": "s3://data/runs", "environment": [*NOBODY, *AWS_KEYS, "AWS_ENDPOINT_URL"]}
    project, host = make_project(tmp_path / "my project"), tmp_path / "the host"
    write_remote_yaml(project, host, **storage)
    monkeypatch.chdir(project)
    job = ask("submit", "here", "-n", "fast", "-S", "params.json:rate=3")["jobs"][0]
    state = wait_for_end(job)
    assert state["state"] == "done", state.get("cause")
    shutil.rmtree(host / "cache")  # so that what is pulled comes out of the storage
    done = run_tunelock("remote", "pull", job, "--host", "here")
    assert done.exit_code == 0, done.output
    run(["dvc", "exp", "apply", "fast"], project)
    assert Path("out/model.txt").read_text(encoding="utf-8").endswith("train rate=3\n")
    shutil.rmtree("out")
    assert "Running stage" not in run(["dvc", "repro"], project)
    assert Path("out/score.txt").exists()
    log = (host / "jobs" / job / "log.txt").read_text(encoding="utf-8")
    assert "fetch s3://data/runs: " in log
    assert "push s3://data/runs: " in log
    files = [path for path in host.rglob("*") if path.is_file()]
    assert not [path for path in files if AWS_KEYS["AWS_SECRET_ACCESS_KEY"].encode() in path.read_bytes()]
