"""The doctor names each fault once, while training goes on, and is silent about a healthy run."""

import math
import re
import shutil

from transformers import TrainerControl, TrainerState

from tests.conftest import ROOT
from tunelock.watching.doctor import Doctor


def history(losses: list[float], evals: dict[int, float]) -> list[dict]:
    """A log as the trainer keeps it, at a learning rate of 1e-3."""
    rows = []
    for step, loss in enumerate(losses, 1):
        noisy = loss + 0.02 * math.sin(7 * step)
        rows.append({"loss": noisy, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": step / len(losses), "step": step})
        rows += [{"eval_loss": evals[step], "epoch": step / len(losses), "step": step}] if step in evals else []
    return rows


def test_the_doctor_tells_once_that_a_run_diverges_and_what_to_try(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    up = [3 - 0.05 * step for step in range(20)] + [2 + 0.1 * step for step in range(40)]
    doctor, state = Doctor(), TrainerState()
    for end in (20, 60, 60):
        state.log_history = history(up[:end], {10: 2.5, 20: 2.1, 40: 4.0, 60: 5.9})
        doctor.on_evaluate(None, state, TrainerControl())
        if end == 20:
            assert capsys.readouterr().err == ""
    told = capsys.readouterr().err
    assert told.count("diverging: ") == 1
    assert re.search(r"rose from .*\n    dvc exp run -S learning_rate=0\.0001\n", told)


def test_the_doctor_finds_nothing_wrong_with_a_healthy_run(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    doctor, state = Doctor(), TrainerState()
    down = [2 + math.exp(-step / 15) for step in range(60)]
    for end in range(10, 61, 10):
        evals = {step: 2.1 + math.exp(-step / 15) for step in range(10, end + 1, 10)}
        state.log_history = history(down[:end], evals)
        doctor.on_evaluate(None, state, TrainerControl())
    assert capsys.readouterr().err == ""
