"""What training says of itself: its cost before it starts, its rate and memory, a bar that shows the total."""

import io
import re
import sys

from transformers import TrainerState

from tests.terminal import stop_clock
from tunelock.watching import progress
from tunelock.watching.progress import Meter, ProgressBar, announce_cost


def test_the_meter_counts_the_tokens_of_training_alone(monkeypatch):
    clock, seen = [0.0], [0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    meter = Meter(lambda: seen[0])
    assert meter.reading()["tokens_per_second"] == 0
    meter.on_train_begin(None, None, None)
    for seconds, tokens in ((1.0, 100), (1.0, 300)):
        clock[0] += seconds
        seen[0] += tokens
        meter.on_step_end(None, None, None)
    assert meter.reading()["tokens_per_second"] == 200
    clock[0] += 50  # a validation
    meter.on_evaluate(None, None, None)
    clock[0] += 2
    seen[0] += 800
    meter.on_step_end(None, None, None)
    assert meter.reading()["tokens_per_second"] == 300
    assert 0.1 < meter.reading()["memory_gb"] < 200


def test_the_bar_shows_the_total_the_time_left_and_the_last_values(monkeypatch):
    clock = stop_clock(monkeypatch)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar, state = ProgressBar(), TrainerState(global_step=2, max_steps=8)
    logged = {"loss": 1.5, "learning_rate": 1e-3, "grad_norm": 1.5, "tokens_per_second": 400.5, "memory_gb": 3.25}
    bar.on_train_begin(None, state, None)
    for more in ({}, {"eval_loss": 2.5}, {"loss": 0.75}):
        clock.now += 10
        bar.on_step_end(None, state, None)
        bar.on_log(None, state, None, logged | more)
    bar.on_train_end(None, state, None)
    bar.on_log(None, state, None, logged)  # a validation after training
    last = sys.stderr.getvalue().splitlines()[-1]
    assert last.startswith("train: 5 of 8 steps (62%), 10.0 s a step, 30 s left, loss=0.750, eval_loss=2.500, ")
    assert last.endswith("lr=1.0e-03, tokens/s=400, GB=3.2")


def test_training_says_what_it_will_cost_before_it_starts(capsys):
    announce_cost([{"input_ids": [1] * 500}] * 4, epochs=2, parameters=1_000_000, dtype="float32")
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"4 rows, 4000 tokens to train on in float32; at most about \d+ s at this machine's \d+ GFLOP/s\n", said
    )


def test_the_cost_follows_from_the_rate_of_products_in_the_dtype_of_training(capsys, monkeypatch):
    rates = {"float32": 50e9, "bfloat16": 0.5e9}  # a CPU without bfloat16 instructions
    monkeypatch.setattr(progress, "measure_matmul_rate", rates.get)
    for dtype, duration in (("float32", "40 s"), ("bfloat16", "1 h 7 min")):
        announce_cost([{"input_ids": [1] * 1000}] * 1000, epochs=0.25, parameters=1_000_000, dtype=dtype)
        assert f"about {duration} at" in capsys.readouterr().err
