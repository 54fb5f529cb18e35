"""How DVCLive, TensorBoard, Weights & Biases and MLflow each take a run: a context that yields `log(step, values)`.

Each starts from an empty record of the run, or continues the one that it cannot empty; see `trackers`. Leaving the
context says that the run is complete. The clients are imported when they are used: none is cheap.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Log = Callable[[int, dict[str, float]], None]  # step, values by name


@dataclass(frozen=True)
class TrackedRun:
    """One training: `folder` is where runs are kept, `name` is that of this one, the settings have no secrets."""

    folder: Path
    name: str
    settings: dict

    @property
    def title(self) -> str:
        """What people see: the name of the experiment if there is one."""
        return os.environ.get("DVC_EXP_NAME") or self.name

    def make_empty_folder(self, tracker: str) -> Path:
        """The tracker's own folder of this run, with nothing in it."""
        folder = self.folder / self.name / tracker
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@contextmanager
def _open_dvclive(run: TrackedRun) -> Iterator[Log]:
    """Files that `dvc plots show -x step` reads. DVC's own files stay as they are: no dvc.yaml, no experiment saved.

    Not DVCLive's callback for transformers: it logs a counter for a step, and run times.
    """
    from dvclive import Live as DVCLive
    from scmrepo.exceptions import SCMError

    class Live(DVCLive):
        def _init_dvc(self):  # asks for the commit that it saves experiments on, which we have it not do
            with suppress(SCMError):  # there is none yet
                super()._init_dvc()

    live = Live(dir=str(run.make_empty_folder("dvclive")), dvcyaml=None, save_dvc_exp=False)
    live.log_params(run.settings)

    def log(step, values):
        live.step = step
        for name, value in values.items():
            live.log_metric(name, value)
        live.make_summary()  # `next_step` would read all curves again at each step

    yield log
    live.end()


@contextmanager
def _open_tensorboard(run: TrackedRun) -> Iterator[Log]:
    """Event files: `tensorboard --logdir runs`."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run.make_empty_folder("tensorboard")))
    writer.add_text("settings", f"```\n{json.dumps(run.settings, indent=2, ensure_ascii=False)}\n```")

    def log(step, values):
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    yield log
    writer.close()


@contextmanager
def _open_wandb(run: TrackedRun) -> Iterator[Log]:
    """Weights & Biases, to be sent later by `wandb sync`. Command line, host, user, git and console are left out.

    Online the server has the steps up to a crash, and W&B ignores what it is sent again.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb as client

    mode: Any = os.environ.get("WANDB_MODE", "offline")
    quiet = client.Settings(
        x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        disable_git=True, disable_code=True, console="off", silent=True,
    )  # fmt: skip
    session = client.init(
        project=os.environ.get("WANDB_PROJECT", "tunelock"), id=run.name, name=run.title, config=run.settings,
        dir=str(run.make_empty_folder("wandb").parent), mode=mode, settings=quiet,
        resume="allow" if mode == "online" else None,
    )  # fmt: skip
    yield lambda step, values: session.log(values, step=step)
    session.finish()
    client.teardown()  # waits until the file is whole; `finish` alone does not


@contextmanager
def _open_mlflow(run: TrackedRun) -> Iterator[Log]:
    """One SQLite file for all runs: `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`.

    A run of this name that did not finish is continued with the steps that it lacks.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.folder / "mlflow.lock", "w") as lock:  # two runs must not both make the tables
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.folder / 'mlflow.db'}")
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "tunelock")
        found = client.get_experiment_by_name(title)
        experiment = found.experiment_id if found else client.create_experiment(title)
    key = {"run_key": run.name}
    begun = client.search_runs([experiment], f"tags.run_key = '{run.name}' and attributes.status = 'RUNNING'")
    session = begun[0] if begun else client.create_run(experiment, tags=key, run_name=run.title)
    number, has = session.info.run_id, session.data.metrics
    last = {name: _find_last_step(client.get_metric_history(number, name)) for name in has}
    if not begun:
        client.log_batch(number, params=[Param(name, str(value)[:6000]) for name, value in run.settings.items()])

    def log(step, values):
        new = {name: value for name, value in values.items() if step > last.get(name, -1)}
        now = int(time.time() * 1000)
        client.log_batch(number, metrics=[Metric(name, value, now, step) for name, value in new.items()])

    yield log
    client.set_terminated(number)


def _find_last_step(points: list) -> int:
    """The largest step that MLFlow has of a metric."""
    return max(point.step for point in points)


RECORDERS = {"dvclive": _open_dvclive, "tensorboard": _open_tensorboard, "wandb": _open_wandb, "mlflow": _open_mlflow}
