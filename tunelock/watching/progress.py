"""What long training says of itself: its cost before it starts; loss, rate, memory and time left while it runs."""

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from tunelock.model.modeling import find_device
from tunelock.run.bars import Bar
from tunelock.run.terminal import format_duration


class _BarValue(NamedTuple):
    """A key of the trainer's log, its name in the bar and its format there."""

    key: str
    name: str
    form: str


_BAR_VALUES = (
    _BarValue("loss", "loss", ".3f"),
    _BarValue("eval_loss", "eval_loss", ".3f"),
    _BarValue("learning_rate", "lr", ".1e"),
    _BarValue("tokens_per_second", "tokens/s", ".0f"),
    _BarValue("memory_gb", "GB", ".1f"),
)
_WINDOW = 20  # steps that the rate is taken over: batches of similar length differ, one step says little


class Meter(TrainerCallback):
    """Measures the rate of the last steps and the peak of memory, for the trainer to log (`reading`).

    Args:
        tokens_seen: tells how many tokens this process has trained on, padding left out.
    """

    def __init__(self, tokens_seen: Callable[[], int]):
        self.tokens_seen, self.tokens = tokens_seen, tokens_seen()
        self.steps: deque[tuple[int, float]] = deque(maxlen=_WINDOW)

    def on_train_begin(self, args, state, control, **kwargs):
        self.since = time.perf_counter()

    on_evaluate = on_save = on_train_begin  # what these took is no training

    def on_step_end(self, args, state, control, **kwargs):
        now, tokens = time.perf_counter(), self.tokens_seen()
        self.steps.append((tokens - self.tokens, now - self.since))
        self.since, self.tokens = now, tokens

    def reading(self) -> dict[str, float]:
        """`tokens_per_second` over the last 20 steps and `memory_gb`, the peak so far; in GB of 10^9 bytes."""
        seconds = sum(seconds for _, seconds in self.steps)
        rate = sum(tokens for tokens, _ in self.steps) / seconds if seconds else 0.0
        return {"tokens_per_second": round(rate, 1), "memory_gb": round(_measure_peak_memory() / 1e9, 3)}


def _measure_peak_memory() -> int:
    """The most bytes that tensors took on the GPU, or that this process took of RAM where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class ProgressBar(TrainerCallback):
    """A bar on stderr: steps, time left, and the last of each value of the log that is in `_BAR_VALUES`."""

    def __init__(self):
        self.bar, self.values = None, {}

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = Bar(total=state.max_steps, initial=state.global_step, desc="train", unit="step")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.bar is None:  # a validation outside of training
            return
        self.values |= {entry.key: logs[entry.key] for entry in _BAR_VALUES if entry.key in logs}
        shown = [entry for entry in _BAR_VALUES if entry.key in self.values]
        self.bar.set_postfix({entry.name: format(self.values[entry.key], entry.form) for entry in shown})

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()
        self.bar = None


def measure_matmul_rate(dtype: str, side: int = 1024) -> float:
    """FLOP/s of matrix products in a dtype of torch on this machine, tried for a third of a second."""
    left, right = (torch.randn(side, side, device=find_device()).to(getattr(torch, dtype)) for _ in range(2))
    started, products = time.time(), 0
    while time.time() - started < 0.3:
        (left @ right).sum().item()
        products += 1
    return products * 2 * side**3 / (time.time() - started)


def announce_cost(rows: Sequence[Mapping[str, Any]], epochs: float, parameters: int, dtype: str) -> None:
    """Say on stderr how long training will take at most, from this machine's rate of matrix products in `dtype`.

    4 FLOPs a parameter and token (forward 2, backward through frozen weights 2), at the half of that rate which
    whole training steps reach in `benchmarks/training.py`. Rows that begin alike take less.
    """
    rate = measure_matmul_rate(dtype)
    tokens = sum(len(row["input_ids"]) for row in rows) * epochs
    duration = format_duration(4 * parameters * tokens / rate * 2, rounded=True)
    print(
        f"{len(rows)} rows, {tokens:.0f} tokens to train on in {dtype}; at most about {duration} at this machine's "
        f"{rate / 1e9:.0f} GFLOP/s",
        file=sys.stderr,
    )
