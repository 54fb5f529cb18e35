"""The batch script of a job, and what remote.yaml asks of sbatch for it."""

from typing import Any

from tunelock.remote.there.slurm_nodes import count_minutes
from tunelock.remote.there.slurm_reasons import EX_CONFIG

_OPTIONS = {"partition": "partition", "account": "account", "gres": "gres", "cpus": "cpus-per-task", "memory": "mem"}
_MOST_SIGNAL = 65535  # seconds that `--signal` takes
# USR1 asks the job to stop. It is ignored until the job listens, for it would end the shell.
_SCRIPT = """#!/bin/bash{login}
trap '' USR1
{{ {setup}
}} || {{ echo "job: \\`setup\\` of remote.yaml failed with exit code $?"; exit {code}; }}
exec {command}
"""


def write_script(order: dict[str, Any], command: str) -> str:
    """The script that runs `setup`, and then the command in the place of the shell."""
    login = " -l" if order["setup"] else ""  # for `module`, which only a login shell knows on most clusters
    return _SCRIPT.format(login=login, setup=order["setup"] or "true", code=EX_CONFIG, command=command)


def list_sbatch_options(order: dict[str, Any]) -> list[str]:
    """What remote.yaml asks of sbatch."""
    queue, before = order["slurm"], min(_MOST_SIGNAL, order["signal_before_s"])
    options = ["--nodes=1", "--ntasks=1", "--requeue", "--open-mode=append", "--export=ALL"]
    options += [f"--time={count_minutes(order['time_limit_s'])}", f"--signal=B:USR1@{before}"]
    options += [f"--{option}={queue[key]}" for key, option in _OPTIONS.items() if queue[key] is not None]
    return [*options, *queue["sbatch"]]
