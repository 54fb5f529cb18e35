"""What long training says of itself: its cost before it starts, its rate and time left while it runs."""

import sys
import time

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from stages.lib.modeling import device


class ProgressBar(TrainerCallback):
    """A bar with steps, loss, tokens a second and time left, on stderr."""

    def __init__(self, mean_length: float):
        self.mean_length = mean_length
        self.bar = None

    def on_train_begin(self, args, state, control, **kwargs):
        self.started, self.first = time.time(), state.global_step
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step", file=sys.stderr)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.bar is None:  # a validation outside of training
            return
        rows = (state.global_step - self.first) * args.train_batch_size * args.gradient_accumulation_steps
        speed = f"{rows * self.mean_length / (time.time() - self.started):.0f}"
        shown = {key: f"{logs[key]:.3f}" for key in ("loss", "eval_loss") if key in logs}
        self.bar.set_postfix({**shown, "tokens/s": speed})

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(1)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def announce_cost(rows: list[dict], epochs: float, parameters: int) -> None:
    """Say on stderr how long training will take, from this machine's rate of bf16 matrix products.

    4 FLOPs a parameter and token (forward 2, backward through frozen weights 2), at the fifth of that rate which
    whole training steps reached in `benchmarks/training.py`.
    """
    side = 1024
    left, right = (torch.randn(side, side, device=device(), dtype=torch.bfloat16) for _ in range(2))
    started, products = time.time(), 0
    while time.time() - started < 0.3:
        (left @ right).sum().item()
        products += 1
    rate = products * 2 * side**3 / (time.time() - started)
    tokens = sum(len(row["input_ids"]) for row in rows) * epochs
    minutes = 4 * parameters * tokens / rate * 5 / 60
    print(
        f"{len(rows)} rows, {tokens:.0f} tokens to train on; about {minutes:.0f} min at this machine's "
        f"{rate / 1e9:.0f} GFLOP/s",
        file=sys.stderr,
    )
