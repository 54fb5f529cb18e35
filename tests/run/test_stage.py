"""Around a stage's work: one run at a time, on inputs that hold still, with errors in plain words."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tunelock.run
from tunelock.run.errors import Stop
from tunelock.run.stage import hold_lock, plain_errors, stage

ROOT = Path(__file__).parents[2]
DAG = """
stages:
  demo:
    cmd: python -m demo
    deps: [code.py, data.txt, folder]
    params: [rank]
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A repository with one stage, `demo`, whose code is older than this process."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(DAG)
    Path("params.yaml").write_text("rank: 16\nother: 1\n")
    Path("data.txt").write_text("data")
    Path("folder").mkdir()
    for code in Path("code.py"), Path("folder/part.py"):
        code.write_text("1")
        os.utime(code, (1, 1))


def run(work=lambda: None) -> str:
    """Run the stage with `work` as its body; returns the fingerprint that it was given."""
    given = []

    @stage("demo")
    def main(_params, fingerprint):
        given.append(fingerprint)
        work()
        return "one row"

    main()
    return given[0]


def stop_of(work=lambda: None) -> str:
    """The one line with which a run of the stage stops."""
    with pytest.raises(SystemExit) as stopped:
        run(work)
    return stopped.value.code


def edit(path: str, text: str) -> None:
    """Write a file as an editor did long ago, so that only its content tells."""
    Path(path).write_text(text)
    os.utime(path, (1, 1))


def never():
    pytest.fail("the stage ran")


def python(code: str, **options) -> subprocess.Popen:
    """Another Python process, in the folder of the test."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=env, **pipes, **options)


def test_a_stage_gets_its_declared_params():
    @stage("demo")
    def main(params, _fingerprint):
        assert params.rank == 16
        with pytest.raises(AttributeError, match="'demo' reads 'other'"):
            _ = params.other
        return "one row"

    main()


def test_the_fingerprint_is_the_same_for_the_same_inputs():
    assert run() == run()


EDITS = {
    "param rank": ("params.yaml", "rank: 17\nother: 1\n"),
    "data.txt": ("data.txt", "date"),
    "code.py": ("code.py", "2"),
    "folder": ("folder/new.txt", ""),
    "cmd": ("dvc.yaml", DAG.replace("-m demo", "-m demo --fast")),
}


@pytest.mark.parametrize("name", EDITS)
def test_the_fingerprint_changes_with_each_input(name):
    before = run()
    edit(*EDITS[name])
    assert run() != before


NO_EDITS = {
    "undeclared param": ("params.yaml", "rank: 16\nother: 2\n"),
    "comment and order": ("params.yaml", "other: 1\nrank: 16  # a reason\n"),
    "touched data": ("data.txt", "data"),
    "file beside": ("beside.txt", "x"),
    "bytecode": ("folder/__pycache__/part.pyc", "x"),
}


@pytest.mark.parametrize("name", NO_EDITS)
def test_the_fingerprint_stays_when_no_input_changes(name):
    before = run()
    Path("folder/__pycache__").mkdir()
    edit(*NO_EDITS[name])
    assert run() == before


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_while_the_stage_runs_makes_it_fail_at_its_end(name):
    stop = stop_of(lambda: edit(*EDITS[name]))
    assert stop.startswith(f"demo: changed while the stage ran: {name}; ")
    assert not Path("metrics/timings.json").exists()


def test_all_inputs_that_changed_are_named():
    stop = stop_of(lambda: [edit("data.txt", "x"), edit("params.yaml", "rank: 1\n")])
    assert "data.txt, param rank;" in stop


def test_an_edit_of_what_the_stage_does_not_read_is_no_fault():
    run(lambda: edit("params.yaml", "rank: 16\nother: 2\n"))


def test_an_input_that_is_deleted_while_the_stage_runs_is_named():
    assert "data.txt" in stop_of(Path("data.txt").unlink)


@pytest.mark.parametrize("code", ["code.py", "folder/part.py"])
def test_code_younger_than_the_process_is_refused_before_it_runs(code):
    os.utime(code, (tunelock.run.STARTED + 1,) * 2)
    stop = stop_of(never)
    assert "edited while the stage was starting" in stop
    assert code in stop


def test_data_may_be_younger_than_the_process():
    os.utime("data.txt", (tunelock.run.STARTED + 1,) * 2)
    run()


def test_a_missing_input_is_named_before_the_stage_runs():
    Path("data.txt").unlink()
    assert stop_of(never) == "demo: data.txt is missing; run `dvc repro` to make it."


def test_outside_a_repository_the_stage_says_so():
    Path("dvc.yaml").unlink()
    assert stop_of(never).startswith("demo: dvc.yaml is missing")


def test_a_stage_that_is_not_in_dvc_yaml_says_so():
    Path("dvc.yaml").write_text("stages: {}\n")
    assert "no stage 'demo'" in stop_of(never)


def test_a_second_run_is_refused_with_the_first_ones_process():
    stop = []
    run(lambda: stop.append(stop_of(never)))
    assert stop == [f"demo: process {os.getpid()} is already running this stage here; "
                    f"wait for it or stop it with `kill {os.getpid()}`."]  # fmt: skip


def test_another_stage_may_run_at_the_same_time():
    with hold_lock("train"):
        run()


def test_the_lock_is_free_again_after_a_run_and_after_a_failure():
    run()
    assert "disk" in stop_of(failing(Stop("the disk is old")))
    run()


def test_a_lock_goes_with_the_process_that_is_killed():
    holder = python(
        "import time\nfrom tunelock.run.stage import hold_lock\n"
        "with hold_lock('demo'):\n    print('locked', flush=True)\n    time.sleep(60)"
    )
    with holder:
        assert holder.stdout.readline() == "locked\n"
        try:
            assert f"process {holder.pid} is already running" in stop_of(never)
        finally:
            holder.kill()
    run()


def failing(error: BaseException):
    def work():
        raise error

    return work


def test_a_fault_of_the_user_is_one_line_and_exit_code_1():
    process = python(
        "from tunelock.run.errors import Stop\nfrom tunelock.run.stage import plain_errors\n"
        "with plain_errors('demo'):\n    raise Stop('lora_r: is 0; raise it.')"
    )
    assert process.communicate() == ("", "demo: lora_r: is 0; raise it.\n")
    assert process.returncode == 1


def test_ctrl_c_is_one_line_that_says_how_to_go_on():
    assert stop_of(failing(KeyboardInterrupt())).startswith("demo: interrupted; run the same command again")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_full_or_read_only_disk_is_one_line_that_names_the_file(number):
    stop = stop_of(failing(OSError(number, os.strerror(number), "models/x")))
    assert stop.startswith(f"demo: cannot write models/x ({os.strerror(number)}); free the disk")


def test_a_full_disk_without_a_file_name_is_one_line_too():
    assert "cannot write an output (No space left" in stop_of(failing(OSError(errno.ENOSPC, "No space left")))


@pytest.mark.parametrize("error", [ValueError("bug"), FileNotFoundError(errno.ENOENT, "bug")], ids=repr)
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error), match="bug"):
        run(failing(error))


def test_plain_errors_let_success_pass():
    with plain_errors("demo"):
        pass


def test_time_and_memory_go_to_a_file_that_keeps_the_other_stages_figures():
    Path("metrics").mkdir()
    Path("metrics/timings.json").write_text('{"demo_seconds": 99.0, "train_seconds": 12.5}')
    run()
    timings = json.loads(Path("metrics/timings.json").read_text())
    assert timings.keys() == {"demo_seconds", "demo_peak_rss_gb", "train_seconds"}
    assert timings["train_seconds"] == 12.5
    assert 0 <= timings["demo_seconds"] != 99.0
    assert 0 < timings["demo_peak_rss_gb"] < 64


def test_a_stage_that_fails_leaves_the_old_timings():
    run()
    before = Path("metrics/timings.json").read_bytes()
    stop_of(failing(Stop("no")))
    assert Path("metrics/timings.json").read_bytes() == before


def test_the_time_counts_from_the_start_of_python_imports_included(monkeypatch):
    monkeypatch.setattr(tunelock.run, "STARTED", 1000.0)
    monkeypatch.setattr(time, "time", lambda: 1012.3)
    run()
    assert json.loads(Path("metrics/timings.json").read_text())["demo_seconds"] == 12.3


STAGES = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
RUN_A_MODEL = {"base", "card", "evaluate"}
TRAIN_OR_MERGE = {"merge", "pilot", "train"}
TORCH, TRAINING = {"torch", "transformers", "datasets"}, {"peft", "trl", "bitsandbytes", "datasets"}


@pytest.mark.parametrize(
    "stages, unneeded", [(STAGES - RUN_A_MODEL - TRAIN_OR_MERGE, TORCH), (STAGES & RUN_A_MODEL, TRAINING)]
)
def test_a_stage_starts_without_what_it_does_not_need(stages, unneeded):
    imports = ", ".join(f"stages.{name}" for name in sorted(stages))
    code = f"import sys, {imports}; print(sorted({unneeded} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


PURPOSED = DAG.replace("cmd:", "desc: Count the rows\n    cmd:")


def said(capsys, timings: str | None = None) -> list[str]:
    """The lines that a run of the stage writes, the time it took replaced."""
    Path("dvc.yaml").write_text(PURPOSED)
    if timings:
        Path("metrics").mkdir()
        Path("metrics/timings.json").write_text(timings)
    run()
    out, err = capsys.readouterr()
    assert out == ""
    return re.sub(r"in \d+\.\d s|in \d+ .*s", "in TIME", err).splitlines()


def test_a_stage_says_what_it_does_and_what_came_out(capsys):
    assert said(capsys) == ["demo: Count the rows", "demo done in TIME: one row"]


def test_a_stage_says_how_long_it_took_the_last_time(capsys):
    assert said(capsys)[0] == "demo: Count the rows"
    assert re.fullmatch(r"demo: Count the rows \(about .*, as last time\)", said(capsys)[0])


def test_minutes_of_another_machine_or_of_other_inputs_are_no_forecast(capsys):
    there = "demo: Count the rows (4 min where metrics/timings.json was made)"
    assert said(capsys, '{"demo_seconds": 229.2}')[0] == there
    Path("data.txt").write_text("ten times the data")
    assert said(capsys)[0].endswith(" the last time, with other inputs)")
    assert said(capsys)[0].endswith(", as last time)")
    Path("params.yaml").write_text("rank: 64\nother: 1\n")
    assert said(capsys)[0].endswith(" the last time, with other inputs)")


def test_a_stage_that_never_ran_promises_no_time(capsys):
    assert said(capsys, '{"train_seconds": 229.2}')[0] == "demo: Count the rows"


def test_a_stage_that_stops_does_not_say_that_it_is_done(capsys):
    stop_of(failing(Stop("no")))
    assert "done" not in capsys.readouterr().err
