"""Jobs in a real Slurm of one node, with a small script in the place of the job."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.remote.cluster import Cluster
from tunelock.remote.there import slurm as engine
from tunelock.remote.there.job_files import ENDS, JobFolder
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.slurm_queue import read_queue
from tunelock.remote.there.slurm_reasons import explain_end, explain_wait

TOY = """
import json, os, pathlib, signal, subprocess, sys, time
verb, folder = sys.argv[1:]
folder = pathlib.Path(folder)
def note(**news):
    state = json.loads((folder / "state.json").read_text()) | news
    (folder / "new").write_text(json.dumps(state))
    os.replace(folder / "new", folder / "state.json")
def stop(number, frame):
    note(state="cancelled" if json.loads((folder / "state.json").read_text()).get("wish") == "cancel" else "stopped")
    print("stopped by", signal.Signals(number).name, flush=True)
    sys.exit(0)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, stop)
def work(verb, folder):
"""
WORKS = {
    "ends": 'note(state="done", saw={k: v for k, v in os.environ.items()})',
    "runs": 'note(state="running", pid=os.getpid()); subprocess.run(["sleep", "600"])',
    "deaf": """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run = subprocess.Popen(["sleep", "600"], start_new_session=True)
    note(state="running", pid=os.getpid(), host=os.uname().nodename, run_pid=run.pid)
    run.wait()""",
    "silent": 'print("it says no more", flush=True); sys.exit(3)',
    "stubborn": """
    sys.path[:0] = [PATH]
    from tunelock.remote.there.slurm import read_allocation, requeue
    def put_back(number, frame):
        note(state="queued")
        requeue(read_allocation().slurm_id)
        sys.exit(0)
    signal.signal(signal.SIGTERM, put_back)
    note(state="running")
    signal.pause()""",
    "counts": """
    kept = folder / "kept"
    kept.write_text(kept.read_text() + "x" if kept.exists() else "x")
    if len(kept.read_text()) < 2:
        note(state="queued")
        sys.path[:0] = [PATH]
        from tunelock.remote.there.slurm import read_allocation, requeue
        requeue(read_allocation().slurm_id)
        time.sleep(60)
    note(state="done", restarts=os.environ["SLURM_RESTART_COUNT"])""",
}
ROOT = Path(__file__).parents[3]
EXPECTED = "Slurm expects to start it on 2026-11-29 at 21:05"
QUEUE = {"partition": None, "account": None, "gres": "gpu:1", "cpus": 1, "memory": "100M", "sbatch": []}


@pytest.fixture(autouse=True)
def _on_the_login_node(slurm, monkeypatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    before = set(slurm.left_running())
    yield
    slurm.run("scancel", f"--user={os.getuid()}")
    wait_for(lambda: set(slurm.left_running()) <= before)


def wait_for(is_so, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def make_jobs(root: Path, *names: str, work: str = "ends", **wants: object) -> tuple[list[JobFolder], Path]:
    """Registered jobs, and the script that stands for the code."""
    root /= "the host"
    script = root / f"{work}.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(TOY + f"    {WORKS[work].strip()}\n".replace("PATH", repr(str(ROOT))) + "work(verb, folder)\n")
    order = {
        "engine": "slurm",
        "setup": None,
        "time_limit_s": 3600,
        "signal_before_s": 60,
        "submitted_at": 1,
        "slurm": QUEUE,
    }
    jobs = [JobFolder(root / "jobs" / name) for name in names]
    for job in jobs:
        extra = {"slurm": QUEUE | wants.get("slurm", {})}
        job.write_order(order | wants | extra | {"id": job.id, "name": job.id, "sweep": None})
        job.update(state="registered")
    return jobs, script


def state_of(job: JobFolder) -> str:
    return engine.query([job])[job.id]["state"]


def test_a_job_runs_with_what_was_asked_for_and_ends(tmp_path):
    (job,), code = make_jobs(tmp_path, "lr64-ab12cd", slurm={"cpus": 2}, setup="export FROM_SETUP='two words'")
    engine.start_queued([job], code, {"HF_TOKEN": "of this run"})
    wait_for(lambda: state_of(job) == "done")
    saw = job.read_state()["saw"]
    assert saw["SLURM_JOB_NAME"] == "lr64-ab12cd"
    assert saw["SLURM_JOB_ID"] == job.read_state()["slurm_id"]
    assert saw["CUDA_VISIBLE_DEVICES"] in ("0", "1")
    assert (saw["SLURM_CPUS_ON_NODE"], saw["SLURM_MEM_PER_NODE"]) == ("2", "100")
    assert (saw["FROM_SETUP"], saw["HF_TOKEN"]) == ("two words", "of this run")
    assert "of this run" not in (job.path / "job.json").read_text()


def test_a_sweep_is_one_array_and_each_task_finds_its_folder(tmp_path, slurm):
    jobs, code = make_jobs(tmp_path, *(f"lr-{number}-ab12cd" for number in (9, 10, 11)))
    engine.start_queued(jobs, code, {})
    wait_for(lambda: {state["state"] for state in engine.query(jobs).values()} == {"done"})
    numbers = [job.read_state()["slurm_id"].split("_") for job in jobs]
    assert len({number for number, _ in numbers}) == 1
    assert [task for _, task in numbers] == ["9", "10", "11"]
    assert [job.read_state()["saw"]["SLURM_ARRAY_TASK_ID"] for job in jobs] == ["9", "10", "11"]


def test_the_number_is_noted_before_the_job_may_start(tmp_path, monkeypatch):
    """Where the release does not come, the job waits on hold, known by its number; then it is withdrawn."""
    seen, (jobs, code) = [], make_jobs(tmp_path, "held-ab12cd")
    call = engine.run_slurm

    def refuse_release(*command: str) -> str:
        if command[0] == "scontrol":
            seen.append((jobs[0].read_state()["slurm_id"], read_queue().entries))
            raise Refused("no")
        return call(*command)

    monkeypatch.setattr(engine, "run_slurm", refuse_release)
    with pytest.raises(Refused):
        engine.start_queued(jobs, code, {})
    ((number, entries),) = seen
    assert entries[number].state == "PENDING"
    assert entries[number].reason == "JobHeldUser"
    assert read_queue().entries[number].state == "CANCELLED"


@pytest.mark.parametrize(
    ("wants", "said"),
    [
        (
            {"slurm": {"partition": "nope"}},
            "there is no partition 'nope'; there are: closed, gpu, short. Set `partition`",
        ),
        (
            {"slurm": {"gres": "tpu:1"}},
            "the cluster does not know 'tpu:1'; its nodes have 8 CPUs, 62G memory and gpu:2. Set `gres`",
        ),
        (
            {"slurm": {"gres": "gpu:3"}},
            "no node of partition 'gpu' has 1 CPUs, 100M memory and 'gpu:3' together; its nodes have 8 CPUs, 62G",
        ),
        ({"slurm": {"memory": "999G"}}, "no node of partition 'gpu' has 1 CPUs, 999G memory"),
        ({"slurm": {"cpus": 99}}, "has 99 CPUs"),
        (
            {"slurm": {"partition": "short"}},
            "60 minutes is above that of partition 'short', which is 1 minutes; set a lower `time_limit`",
        ),
        ({"slurm": {"sbatch": ["--colour=red"]}}, "below `sbatch` in remote.yaml: unrecognized option '--colour=red'"),
    ],
)
def test_what_slurm_cannot_give_is_refused_in_a_sentence_and_nothing_stays_in_the_queue(tmp_path, slurm, wants, said):
    jobs, code = make_jobs(tmp_path, "no-ab12cd", "other", **wants)
    with pytest.raises(Refused, match=re.escape(said)):
        engine.start_queued(jobs, code, {})
    assert slurm.run("squeue", "-h").stdout == ""


def test_a_second_job_that_is_refused_takes_the_first_one_along(tmp_path, slurm):
    (first,), code = make_jobs(tmp_path, "first", work="runs")
    (second,), _ = make_jobs(tmp_path, "second", work="runs", slurm={"gres": "gpu:9"})
    with pytest.raises(Refused):
        engine.start_queued([first, second], code, {})
    assert slurm.run("squeue", "-h").stdout == ""


def test_a_job_that_waits_says_why(tmp_path):
    jobs, code = make_jobs(tmp_path, "first", "second", work="runs", slurm={"gres": "gpu:2"})
    engine.start_queued(jobs, code, {})
    wait_for(lambda: state_of(jobs[0]) == "running")
    wait_for(lambda: "it waits for free nodes" in engine.query(jobs)["second"].get("reason", ""))
    assert engine.query(jobs)["second"]["state"] == "queued"
    (down,), code = make_jobs(tmp_path, "down", slurm={"partition": "closed"})
    engine.start_queued([down], code, {})
    wait_for(lambda: engine.query([down])["down"]["reason"].startswith("its partition is down"))


def test_cancel_ends_all_that_a_job_started_and_those_that_wait(tmp_path, slurm):
    jobs, code = make_jobs(tmp_path, "first", "second", work="runs", slurm={"gres": "gpu:2"})
    engine.start_queued(jobs, code, {})
    wait_for(lambda: state_of(jobs[0]) == "running" and "sleep 600" in slurm.left_running())
    engine.cancel(jobs)
    assert [state["state"] for state in engine.query(jobs).values()] == ["cancelled", "cancelled"]
    assert engine.query(jobs)["second"]["cause"] == "cancelled by you."
    wait_for(lambda: "sleep 600" not in slurm.left_running())


def test_the_signal_before_the_limit_reaches_the_job_itself(tmp_path, slurm):
    (job,), code = make_jobs(tmp_path, "job", work="runs", time_limit_s=60, signal_before_s=58)
    engine.start_queued([job], code, {})
    wait_for(lambda: state_of(job) == "stopped", 45)  # Slurm looks every half a minute
    assert "stopped by SIGUSR1" in job.log.read_text()


def test_jobs_put_themselves_back_into_the_queue_and_go_on(tmp_path):
    jobs, code = make_jobs(tmp_path, "lr-1-ab12cd", "lr-2-ab12cd", work="counts")
    engine.start_queued(jobs, code, {})
    wait_for(lambda: {state["state"] for state in engine.query(jobs).values()} == {"done"}, 60)
    assert [(job.path / "kept").read_text() for job in jobs] == ["xx", "xx"]
    assert [job.read_state()["restarts"] for job in jobs] == ["1", "1"]


def kill_the_job(job: JobFolder, slurm: Cluster) -> None:
    os.kill(job.read_state()["pid"], signal.SIGKILL)


def cancel_in_slurm(job: JobFolder, slurm: Cluster) -> None:
    slurm.run("scancel", job.read_state()["slurm_id"])


def cancel_hard(job: JobFolder, slurm: Cluster) -> None:
    slurm.run("scancel", "--signal=KILL", "--batch", job.read_state()["slurm_id"])


@pytest.mark.parametrize(
    ("harm", "state", "cause"),
    [
        (kill_the_job, "failed", "it was killed from outside (signal 9); `tunelock remote resume job` goes on"),
        (cancel_hard, "failed", "it was killed from outside (signal 9)"),
        (cancel_in_slurm, "cancelled", "it was cancelled in Slurm (scancel), not by tunelock; `tunelock remote resume"),
    ],
)
def test_a_job_that_is_gone_without_a_word_has_a_cause_and_leaves_nothing_running(tmp_path, slurm, harm, state, cause):
    (job,), code = make_jobs(tmp_path, "job", work="deaf")
    engine.start_queued([job], code, {})
    wait_for(lambda: state_of(job) == "running" and "sleep 600" in slurm.left_running())
    harm(job, slurm)
    wait_for(lambda: state_of(job) in ENDS)
    assert engine.query([job])["job"]["state"] == state
    assert cause in job.read_state()["cause"]
    wait_for(lambda: "sleep 600" not in slurm.left_running())


def test_a_job_that_was_cancelled_in_slurm_does_not_put_itself_back(tmp_path, slurm):
    (job,), code = make_jobs(tmp_path, "job", work="stubborn")
    engine.start_queued([job], code, {})
    wait_for(lambda: job.read_state()["state"] == "running")
    cancel_in_slurm(job, slurm)
    wait_for(lambda: state_of(job) == "cancelled")
    assert "it was cancelled in Slurm (scancel), not by tunelock" in job.read_state()["cause"]
    assert slurm.run("squeue", "-h").stdout == ""


def test_what_a_killed_submission_left_on_hold_goes_with_the_next_one(tmp_path, slurm, monkeypatch):
    (job,), code = make_jobs(tmp_path, "job", slurm={"partition": "closed"})
    left, other = [slurm.run("sbatch", "--hold", "--parsable", f"--chdir={folder}", "--wrap=true").stdout.strip()
                   for folder in (job.root, tmp_path)]  # fmt: skip
    (noted,), _ = make_jobs(tmp_path, "noted", slurm={"partition": "closed"})
    engine.start_queued([noted], code, {})
    slurm.run("scontrol", "hold", noted.read_state()["slurm_id"])
    engine.start_queued([job], code, {})
    assert read_queue().entries[left].state == "PENDING"  # it may be one that is under way
    monkeypatch.setattr(engine, "_ORPHANED", -1.0)
    (last,), _ = make_jobs(tmp_path, "last", slurm={"partition": "closed"})
    engine.start_queued([last], code, {})
    entries = read_queue().entries
    assert entries[left].state == "CANCELLED"
    assert {entries[number].state for number in (other, noted.read_state()["slurm_id"])} == {"PENDING"}


def test_the_accounting_is_asked_for_what_the_queue_has_forgotten(tmp_path, monkeypatch):
    jobs, _ = make_jobs(tmp_path, "one", "two", "three")
    for job, number in zip(jobs, ("7", "8_2", "9")):
        job.update(state="running", slurm_id=number)
    put_program(tmp_path, "squeue", "true")
    put_program(tmp_path, "sacct", """
        case "$*" in *--jobs=7,8_2,9*) ;; *) exit 1 ;; esac
        echo '7|NODE_FAIL|0:0|2026-11-29T20:00:00|n1'
        echo '7|OUT_OF_MEMORY|0:125|2026-11-29T20:01:00|n2'
        echo '8_2|CANCELLED by 1000|0:15|2026-11-29T20:00:00|n1'""")  # fmt: skip
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    states = engine.query(jobs)
    assert states["one"]["cause"].startswith("it used more memory than it asked for")
    assert states["two"]["state"] == "cancelled"
    assert states["three"]["state"] == "running"  # its own last word may be on its way
    os.utime(jobs[2].path / "missed", (0, 0))
    assert engine.query(jobs)["three"]["cause"].startswith(
        "it broke off and left no word; `tunelock remote resume three`"
    )


def put_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("reason", "expected", "said"),
    [
        ("Resources", "2026-11-29T21:05:00", f"it waits for free nodes; {EXPECTED}"),
        ("Priority", "N/A", "other jobs have a higher priority"),
        ("AssocGrpGRES", "N/A", "a limit of your account is reached (AssocGrpGRES)"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1]", "", "its nodes are down, drained or reserved, as for maintenance"),
        ("FrontEndDown", "N/A", "Slurm says FrontEndDown"),
    ],
)  # fmt: skip
def test_reasons_to_wait_are_words(reason, expected, said):
    assert explain_wait(reason, expected) == said


def test_a_log_that_its_node_could_not_write_is_told_with_the_folder():
    assert explain_end("job", "FAILED", "0:53", "/home/me", "").startswith(
        "its node could not write to /home/me; choose"
    )


def test_a_job_whose_node_fails_is_queued_again_and_goes_on(tmp_path, slurm):
    (job,), code = make_jobs(tmp_path, "job", work="deaf")
    engine.start_queued([job], code, {})
    wait_for(lambda: job.read_state()["state"] == "running")
    slurm.run("scontrol", "update", "node=ALL", "state=down", "reason=test")
    wait_for(lambda: "it starts again in a moment" in engine.query([job])["job"].get("reason", ""))
    assert "Slurm put it back (its node failed" in engine.query([job])["job"]["reason"]
    wait_for(lambda: state_of(job) == "running" and "sleep 600" in slurm.left_running(), 30)


def test_a_job_that_breaks_off_tells_its_last_line(tmp_path):
    (job,), code = make_jobs(tmp_path, "job", work="silent")
    engine.start_queued([job], code, {})
    wait_for(lambda: state_of(job) == "failed")
    assert job.read_state()["cause"].startswith("it broke off: it says no more; `tunelock remote resume job`")


def test_a_setup_that_fails_is_named(tmp_path):
    (job,), code = make_jobs(tmp_path, "job", setup="cd /nowhere\n")
    engine.start_queued([job], code, {})
    wait_for(lambda: state_of(job) == "failed")
    assert "`setup` of remote.yaml failed with exit code 1" in job.read_state()["cause"]


def test_fifty_jobs_are_asked_for_in_well_below_a_second(tmp_path, slurm):
    jobs, code = make_jobs(tmp_path, *(f"lr-{number}-ab12cd" for number in range(1, 51)), slurm={"partition": "closed"})
    engine.start_queued(jobs, code, {})
    start = time.monotonic()
    states = engine.query(jobs)
    assert time.monotonic() - start < 0.5
    assert {state["state"] for state in states.values()} == {"queued"}


def test_a_slurm_that_does_not_answer_leaves_what_is_known(tmp_path, monkeypatch):
    (job,), code = make_jobs(tmp_path, "job", slurm={"partition": "closed"})
    engine.start_queued([job], code, {})
    put_program(tmp_path, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = engine.query([job])["job"]
    assert found["state"] == "queued"
    assert found["reason"] == "Slurm does not answer there: slurm_load_jobs error: Unable to contact slurm controller"


def test_without_sbatch_the_sentence_says_where_to_look(tmp_path, monkeypatch):
    jobs, code = make_jobs(tmp_path, "job")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="there is no `squeue` on the PATH that ssh finds there"):
        engine.start_queued(jobs, code, {})
