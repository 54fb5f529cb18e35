"""Trackers: what training logs, shown by DVCLive, TensorBoard, Weights & Biases or MLflow (`report_to`).

Everything is written below `runs/` of the main clone, which git ignores: curves hold the clock (tokens a second), so in
an out they would change `dvc.lock` at every run, and DVC deletes outs when a run is resumed. `metrics/` gets its curves
from the trainer's log, not from here.

The name of a run is the key of its checkpoints, so a resumed run finds its own record. What the checkpoint's log holds
is sent again to an empty record, and a record that cannot be emptied (a server's) takes only the steps that it lacks:
no step is there twice. A resumed run makes the same bits, so the values are the same either way.

Offline unless the environment says otherwise: WANDB_MODE=online, MLFLOW_TRACKING_URI=https://..., DVC_STUDIO_TOKEN.
"""

import importlib.util
import os
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from transformers import TrainerCallback

from tunelock.privacy.redaction import redact_settings
from tunelock.run.errors import Stop
from tunelock.watching.recorders import RECORDERS, Log, TrackedRun

TRACKER_PACKAGES = {  # packages and their modules; locks/ has their versions
    "dvclive": {"dvclive": "dvclive"},
    "tensorboard": {"tensorboard": "tensorboard"},
    "wandb": {"wandb": "wandb"},
    "mlflow": {"mlflow-skinny": "mlflow", "sqlalchemy": "sqlalchemy", "alembic": "alembic"},
}


def find_runs_folder() -> Path:
    """`runs/` of the main clone, also from an experiment in a temporary one, whose files DVC throws away."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve() / "runs"


def make_trackers(report_to: list[str], folder: Path, run_name: str, settings: dict) -> list[TrainerCallback]:
    """A callback for each tracker. Nothing is opened before training begins, but missing packages are found now.

    Args:
        report_to: names of trackers, each once.
        folder: where runs are kept (`find_runs_folder()`).
        run_name: the same for a run and what resumes it.
        settings: shown with the run, such as its params; JSON types. Secrets in it are hidden.

    Raises:
        Stop: a tracker's package is not installed.
    """
    for name in report_to:
        _require_packages(name)
    return [
        Tracking(name, TrackedRun(folder, run_name, redact_settings(settings))) for name in dict.fromkeys(report_to)
    ]


def _require_packages(name: str) -> None:
    """Stop with the command that installs the packages of a tracker if one is missing."""
    if not all(importlib.util.find_spec(module) for module in TRACKER_PACKAGES[name].values()):
        command = f"python -m pip install --no-deps --require-hashes -r locks/{name}.txt"
        raise Stop(f"report_to: {name} is not installed; run `{command}` or take {name} out of report_to.")


class Tracking(TrainerCallback):
    """Sends the numbers of the trainer's log to one tracker, by optimiser step.

    A tracker that cannot start stops the run, which has cost nothing yet. One that fails later is given up with a
    line on stderr: the training is worth more than its picture.
    """

    def __init__(self, name: str, run: TrackedRun):
        self.name, self.run = name, run
        self.stack = ExitStack()
        self.log: Log | None = None  # while the tracker works
        self.last: dict[str, int] = {}  # step by name: a validation's entry repeats some values of its step

    def on_train_begin(self, args, state, control, **kwargs):
        before = random.getstate()  # of what training draws from, whatever a client takes
        try:
            self.log = self.stack.enter_context(RECORDERS[self.name](self.run))
            for entry in state.log_history:
                self.send(entry["step"], entry)
        except Exception as error:
            raise Stop(f"report_to: {self.name} cannot start ({error}); mend it or take it out of report_to.") from None
        finally:
            random.setstate(before)

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.attempt(self.send, state.global_step, logs)

    def on_train_end(self, args, state, control, **kwargs):
        self.attempt(self.stack.close)

    def send(self, step: int, entry: dict) -> None:
        """Log what the tracker does not have yet of an entry of the trainer's log."""
        values = {key: value for key, value in pick_numbers(entry).items() if step > self.last.get(key, -1)}
        if values:
            self.log(step, values)
        self.last |= dict.fromkeys(values, step)

    def attempt(self, call: Callable, *values) -> None:
        """Call, or give the tracker up; nothing if it is not open."""
        try:
            if self.log:
                call(*values)
        except Exception as error:
            self.log = None
            print(f"report_to: {self.name} failed and is off from here on ({error})", file=sys.stderr)


def pick_numbers(entry: dict) -> dict[str, float]:
    """The curves in an entry of the trainer's log, without its sums over the whole run (`train_...`)."""
    return {
        key: value for key, value in entry.items()
        if isinstance(value, int | float) and key not in ("step", "total_flos") and not key.startswith("train_")
    }  # fmt: skip
