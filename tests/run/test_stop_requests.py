"""A stage that is asked to stop: exit code 75 and one sentence, at once or when it has saved its work."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGTERM, SIGUSR1

import pytest

from tunelock.run.stop_requests import StoppedOnRequest, heed_stops, hold_stops, ignore_stops

ROOT = Path(__file__).parents[2]
STAGE = """
import os, signal, time
from tunelock.run.stage import stage
from tunelock.run.stop_requests import hold_stops, ignore_stops

def wait():
    print("waiting", flush=True)
    time.sleep(60)

@stage("demo")
def main(_params, _fingerprint):
    {body}
    return "one row"

main()
print("over", flush=True)
"""
ONE_SENTENCE = "demo: stopped on request; run the same command again.\n"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages:\n  demo:\n    cmd: python -m demo\n")


def run_stage(body: str, *signals: int) -> tuple[int, str, str]:
    """Run a stage and send it signals while it waits, to the process that its lock names: exit code, stdout, stderr."""
    code = STAGE.format(body=body.replace("\n", "\n    "))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes
    ) as process:
        if signals:
            assert process.stdout.readline() == "waiting\n"
        for number in signals:
            os.kill(int(Path(".ckpt/demo.lock").read_text()), number)
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err.partition("\n")[2]  # without the line that says what the stage does


@pytest.mark.parametrize("number", [SIGUSR1, SIGTERM], ids=["SIGUSR1", "SIGTERM"])
def test_a_stage_with_nothing_to_save_ends_at_once(number):
    assert run_stage("wait()", number) == (75, "", ONE_SENTENCE)
    assert not Path("metrics/timings.json").exists()


def test_no_process_stands_in_the_lock_once_the_stage_is_over():
    run_stage("wait()", SIGUSR1)
    assert Path(".ckpt/demo.lock").read_text() == ""


def test_a_stage_that_holds_the_request_ends_when_it_has_saved():
    body = "with hold_stops() as stop:\n    print('waiting', flush=True)\n    while not stop.asked: time.sleep(0.01)\n"
    code, out, err = run_stage(body + "    print('saved', flush=True)", SIGUSR1, SIGUSR1)
    assert (code, out, err) == (75, "saved\n", ONE_SENTENCE)


def test_a_second_sigterm_ends_a_stage_that_holds_the_first():
    body = "with hold_stops() as stop:\n    print('waiting', flush=True)\n    while not stop.asked: time.sleep(0.01)\n"
    body += "    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)"
    assert run_stage(body, SIGTERM)[0] == -SIGTERM


def test_once_the_result_is_there_a_request_is_ignored():
    body = "import atexit\natexit.register(os.kill, os.getpid(), signal.SIGTERM)\n"
    code, out, err = run_stage(body + "ignore_stops()\nos.kill(os.getpid(), signal.SIGUSR1)")
    assert (code, out) == (0, "over\n") and "demo done" in err


def test_a_child_of_the_stage_dies_of_the_signal_as_any_process_does():
    body = "if not os.fork(): time.sleep(0.1); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
    code, out, _ = run_stage(body + "print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)")
    assert (code, out) == (0, f"-{int(SIGTERM)}\nover\n")


def test_the_signals_are_as_before_after_a_failure():
    before = signal.getsignal(SIGTERM)
    with pytest.raises(KeyError), heed_stops():
        raise KeyError
    assert signal.getsignal(SIGTERM) is before


def test_in_another_thread_a_block_runs_without_signals():
    done = []

    def work():
        with heed_stops(), hold_stops() as stop:
            done.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]


def test_outside_of_a_stage_nothing_is_ignored():
    before = signal.getsignal(SIGUSR1)
    ignore_stops()
    assert signal.getsignal(SIGUSR1) is before


def test_a_request_that_nobody_acted_on_stops_at_the_end_of_the_block():
    with pytest.raises(StoppedOnRequest), heed_stops(), hold_stops():
        signal.raise_signal(SIGUSR1)
