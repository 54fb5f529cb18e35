"""How jobs stand, as a person sees it: on several hosts, on narrow terminals, in a pipe, with clocks that differ."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.command_line import run_tunelock
from tests.remote.fake_jobs import add_job, set_state
from tunelock.remote import watch
from tunelock.remote.job_hosts import note_jobs, read_noted_jobs
from tunelock.remote.job_table import lay_out_jobs, leave_out_old
from tunelock.remote.log_text import join_bars
from tunelock.remote.there import logs, plain, streams
from tunelock.remote.there.job_files import JobFolder
from tunelock.remote.there.refusal import Refused
from tunelock.remote.watch import HostView, JobView

CAUSE = "train: the loss of step 12 is not a number; set `learning_rate` in params.yaml to at most 0.001."
PROGRESS = "train: 120 of 400 steps (30 %), 1.2 s a step, 5 min left, loss 1.234"


@pytest.fixture
def there(tmp_path, monkeypatch) -> Path:
    """The folder of the host `here`; the test stands in a project that names it."""
    (tmp_path / "my project").mkdir()
    monkeypatch.chdir(tmp_path / "my project")
    folder = tmp_path / "host"
    Path("remote.yaml").write_text(f"hosts:\n  here: {{engine: local, folder: {folder}, python: {sys.executable}}}\n")
    monkeypatch.setattr(watch, "_LOOKS", {"local": 0.1})
    return folder


def add_hosts(sshd, *addresses: str) -> None:
    with open("remote.yaml", "a", encoding="utf-8") as file:
        for address in addresses:
            file.write(f'  {address}: {{engine: ssh, address: {address}, ssh: ["-F", "{sshd.ssh_config}"]}}\n')


def show(views: list[HostView], width: int) -> list[str]:
    written = io.StringIO()
    console = Console(width=width, highlight=False, force_terminal=True, no_color=True, file=written)
    console.print(lay_out_jobs(views, width))
    return re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue()).splitlines()


def view(job: str, state: str, **facts) -> JobView:
    return JobView("box", {"id": job}, {"state": state, "age_s": 75.0, **facts})


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_has_a_line_a_job_and_breaks_no_word(width):
    jobs = [
        view("lr64-3fa2b1", "running", stage="train", last=PROGRESS),
        view("lr65-3fa2b1", "queued", reason="all places are taken"),
        view("lr66-3fa2b1", "failed", cause=CAUSE, ran_s=7500.0),
        view("lr67-3fa2b1", "done", ran_s=12.0),
    ]
    lines = show([HostView("box", jobs), HostView("far", [], "far: it does not answer within 20 s.")], width)
    assert max(map(len, lines)) <= width
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["lr64-3fa2b1", "box", "running"], ["lr65-3fa2b1", "box", "queued"],
        ["lr66-3fa2b1", "box", "failed"], ["lr67-3fa2b1", "box", "done"],
    ]  # fmt: skip
    assert "  1 min  " in lines[1] and "  train: 120 of 400" in lines[1] and "  2 h 5 min" in lines[3]
    assert lines[1].rstrip().endswith("…") == (width == 80)
    assert lines[5].split() == ["far", "no", "answer"]
    assert " ".join(" ".join(lines[7:]).split()) == f"lr66-3fa2b1: {CAUSE} far: it does not answer within 20 s."


def test_of_many_failures_the_newest_are_explained_and_each_silent_host():
    jobs = [view(f"bad-{number}", "failed", cause=f"cause {number}") for number in range(30)]
    told = "\n".join(show([HostView("far", [], "far: it is silent."), HostView("box", jobs)], 80))
    assert "far: it is silent." in told and "bad-29: cause 29" in told and "cause 3\n" not in told


def test_older_jobs_that_ended_are_left_out():
    jobs = [view(f"old-{age}", "done", age_s=float(age)) for age in range(30)] + [view("new-1", "queued", age_s=99.0)]
    choice = leave_out_old([HostView("box", jobs)])
    assert choice.left_out == 10
    assert [job.id for job in choice.views[0].jobs] == [*(f"old-{age}" for age in range(20)), "new-1"]


def test_a_host_that_does_not_answer_is_a_line_and_the_others_are_shown(there, sshd):
    add_job(there, "fast-1", "done")
    add_hosts(sshd, "closed", "unknown")
    done = run_tunelock("remote", "status")
    assert done.exit_code == 1
    assert done.output.splitlines()[1].split()[:3] == ["fast-1", "here", "done"]
    assert "closed: 127.0.0.1 refuses connections" in done.output and "unknown: its host key is not" in done.output
    told = json.loads(run_tunelock("remote", "status", "--json").stdout)
    assert [(one["host"], "fault" in one) for one in told] == [("here", False), ("closed", True), ("unknown", True)]
    assert run_tunelock("remote", "status", "--host", "here").exit_code == 0


def test_a_job_is_looked_for_on_the_host_that_is_named(there):
    add_job(there, "fast-1", "done")
    add_job(there, "slow-1", "done")
    assert "slow" not in run_tunelock("remote", "status", "fast").output
    assert run_tunelock("remote", "status", "nosuch").exit_code == 1
    assert "no job 'nosuch' is known there" in run_tunelock("remote", "status", "nosuch").output


def test_a_clock_at_home_that_is_wrong_changes_no_duration(there, monkeypatch):
    add_job(there, "fast-1", "done", started_at=time.time() - 120, ended_at=time.time())
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 100_000)
    assert "done   2 min" in run_tunelock("remote", "status").output


def test_fifty_jobs_are_one_question(there, monkeypatch):
    for number in range(50):
        add_job(there, f"lr{number}-1", "done", log="x" * 10_000 + "\n" + PROGRESS)
    asked = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: asked.append(args) or popen(*args, **options))
    assert len(json.loads(run_tunelock("remote", "status", "--json").stdout)) == 50
    assert len(asked) == 1


def test_watch_tells_changes_in_a_pipe_and_ends_with_the_jobs(there):
    good, bad = add_job(there, "good-1"), add_job(there, "bad-1")
    add_job(there, "old-1", "failed")

    def work() -> None:
        time.sleep(0.6)
        set_state(good, "queued", reason="all places are taken")
        time.sleep(0.6)
        set_state(good, "done", started_at=0, ended_at=61)
        set_state(bad, "failed", cause=CAUSE)

    worker = threading.Thread(target=work)
    worker.start()
    done = run_tunelock("remote", "watch")
    worker.join()
    assert done.exit_code == 1
    assert sorted(done.output.splitlines()) == sorted([
        "good-1: queued", "bad-1: queued", "good-1: queued (all places are taken)", "good-1: done", "bad-1: failed",
        "good-1 is done after 1 min. Fetch it: tunelock remote pull good-1", f"bad-1 is failed: {CAUSE}",
    ])  # fmt: skip


def test_watch_of_jobs_that_ended_says_how_and_of_none_says_so(there):
    add_job(there, "good-1", "done")
    assert run_tunelock("remote", "watch").output == (
        "No job runs or waits; `tunelock remote status` shows those that ended.\n"
    )
    done = run_tunelock("remote", "watch", "good")
    assert (done.exit_code, done.output.splitlines()[-1]) == (
        0, "good-1 is done. Fetch it: tunelock remote pull good-1",
    )  # fmt: skip


def test_watch_goes_on_while_a_host_is_silent(there, monkeypatch):
    folder, looks = add_job(there, "good-1"), []
    ask = watch.Connection.ask

    def ask_sometimes(self, verb, **request):
        looks.append(verb)
        if len(looks) == 2:
            raise watch.Stop("here: the connection broke off.")
        if len(looks) == 3:
            set_state(folder, "done")
        return ask(self, verb, **request)

    monkeypatch.setattr(watch.Connection, "ask", ask_sometimes)
    lines = run_tunelock("remote", "watch").output.splitlines()
    assert lines[:4] == ["good-1: queued", "here: the connection broke off.", "good-1: done", "here answers again"]


def test_the_last_lines_of_a_log_are_counted_as_a_person_counts(there):
    bar = "".join(f"\r{step} %" for step in range(100))
    add_job(there, "fast-1", "done", log=f"one\ntwo\n{bar}\nlast é\n")
    assert run_tunelock("remote", "logs", "fast", "-l", "2").output == "99 %\nlast é\n"
    assert run_tunelock("remote", "logs", "fast", "-l", "3").output == "two\n99 %\nlast é\n"
    assert run_tunelock("remote", "logs", "fast", "-l", "99").output == "one\ntwo\n99 %\nlast é\n"
    assert run_tunelock("remote", "logs", "fast").output == "one\ntwo\n99 %\nlast é\n"


def test_the_last_lines_of_a_large_log_are_found(there):
    add_job(there, "fast-1", "done", log="".join(f"line {number} {'x' * 90}\n" for number in range(3000)))
    lines = run_tunelock("remote", "logs", "fast", "-l", "2000").output.splitlines()
    assert [lines[0].split()[1], lines[-1].split()[1], len(lines)] == ["1000", "2999", 2000]


def test_a_log_is_followed_until_the_job_ends(there):
    folder = add_job(there, "fast-1", log="one\n")

    def work() -> None:
        time.sleep(0.7)
        with open(folder / "log.txt", "a") as log:
            log.write("two\n")
        set_state(folder, "done")

    worker = threading.Thread(target=work)
    worker.start()
    assert run_tunelock("remote", "logs", "-f", "fast").output == "one\ntwo\n"
    worker.join()


def test_a_log_is_no_longer_followed_for_somebody_who_gives_no_sign_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "SILENCE", 0.7)
    monkeypatch.setattr(logs, "_POLL", 0.1)
    (tmp_path / "log.txt").write_text("one\n")
    for beats, least in ((0, 0.6), (3, 1.4)):
        ours, theirs = os.pipe()
        given, out = os.fdopen(ours, "rb"), io.BytesIO()
        for number in range(beats):
            threading.Timer(0.3 * (number + 1), os.write, [theirs, b"\n"]).start()
        start = time.monotonic()
        with pytest.raises(SystemExit, match="74"):
            logs.follow_log(tmp_path / "log.txt", None, lambda: False, given, out)
        assert least < time.monotonic() - start < least + 5
        assert out.getvalue() == b"one\n"
        os.close(theirs)
        given.close()


def test_objects_that_stop_coming_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE", 1)
    ours, theirs = os.pipe()
    os.write(theirs, b'{"path": "files/md5/00/' + b"0" * 30 + b'", "size": 9}\nhalf')
    with os.fdopen(ours, "rb") as given, pytest.raises(Refused, match="nothing came for 1 s"):
        with streams.end_if_silent() as moved:
            streams.receive_objects(tmp_path, given, moved)
    os.close(theirs)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_two_submissions_at_once_are_both_noted(there):
    threads = [threading.Thread(target=note_jobs, args=("here", [f"job-{number}"])) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_noted_jobs()) == 20


def test_the_log_of_a_sweep_asks_which(there):
    for number in (1, 2):
        add_job(there, f"lr-{number}-a", "done", sweep="lr", log="x\n")
        order = there / f"jobs/lr-{number}-a/job.json"
        order.write_text(json.dumps(json.loads(order.read_text()) | {"submitted_at": 1.0}))
    assert "that is 2 jobs; name one of lr-1-a, lr-2-a." in run_tunelock("remote", "logs", "lr").output


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b"a\nb"], b"a\nb"),
        ([b"1 %\r2 ", b"%\r3 %\nend\n"], b"3 %\nend\n"),
        ([b"1 %\r", b"2 %\r", b"\nx"], b"2 %\nx"),
        ([b"a\r\nb\r\n"], b"a\nb\n"),
    ],
)
def test_bars_are_what_they_were_last(pieces, text):
    assert b"".join(join_bars(pieces)) == text


def test_a_job_script_that_broke_is_told_from_one_that_was_killed(there):
    broken = add_job(there, "broken-1", "running", log="Traceback (most recent call last):\n  x\nImportError: no x\n")
    killed = add_job(there, "killed-1", "running", log="train: 3 of 4 steps\n")
    states = plain.query_here([JobFolder(broken), JobFolder(killed)])
    assert "the job script broke there (ImportError: no x)" in states["broken-1"]["cause"]
    assert "it was killed from outside" in states["killed-1"]["cause"]


def test_a_process_that_has_the_number_of_a_dead_job_lives(there):
    other = subprocess.Popen(["sleep", "60"], start_new_session=True, cwd="/")
    own = None
    try:
        job = add_job(there, "old-1", "running", run_pid=other.pid)
        (job / "clone").mkdir()
        own = subprocess.Popen(["sleep", "60"], start_new_session=True, cwd=job / "clone")
        mine = add_job(there, "new-1", "running", run_pid=own.pid)
        (job / "clone").rename(mine / "clone")
        plain.query_here([JobFolder(job), JobFolder(mine)])
        assert own.wait(timeout=5) == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("Running stage 'train':\ntrain: 3 of 4 steps\n", {"stage": "train", "last": "train: 3 of 4 steps"}),
        ("Running stage 'train':\njob: x-1, attempt 2, on vm\n", {"last": "job: x-1, attempt 2, on vm"}),
        (
            "Running stage 'train':\nrow 3\nExperiment results have been applied to your workspace.\n",
            {"stage": "train", "last": "row 3"},
        ),
        ("", {}),
    ],
)
def test_the_news_of_a_job_are_those_of_its_stage_or_its_own(tmp_path, log, told):
    (tmp_path / "log.txt").write_text(log)
    assert logs.summarise_log(tmp_path / "log.txt") == told
