"""What may happen between an interruption and the next run: damage, clocks, other runs.

Used by `benchmarks.interrupt` and by its test.
"""

import os
import signal
from collections.abc import Callable

from benchmarks.interruption import TRAIN, Moment, finish, interrupt, resumed_from, saved, to_all, trainer_pid
from tests.conftest import Project


def flip_a_bit(project: Project) -> None:
    """Change one bit of the last checkpoint's weights."""
    file = next(saved(project)[-1].glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_in_half(project: Project) -> None:
    """Lose the second half of the last checkpoint's optimiser."""
    file = saved(project)[-1] / "optimizer.pt"
    os.truncate(file, file.stat().st_size // 2)


def step_the_clock_back(project: Project) -> None:
    """Let each checkpoint be older than the one before it."""
    for number, path in enumerate(saved(project)):
        for file in (path, *path.iterdir()):
            os.utime(file, (1e9 - number,) * 2)


def train_with_other_params(project: Project) -> None:
    """Have a run with another seed in between, which must not touch what the interrupted one left."""
    project.set(seed=1)
    assert resumed_from(finish(project, *TRAIN)) == "start"
    project.set(seed=0)


def refuse_a_second_run(project: Project) -> None:
    """Without DVC the trainer goes on, and another one must not write into its checkpoints."""
    pid = trainer_pid(project)
    os.kill(pid, signal.SIGSTOP)  # or it may be done before the second is there
    second = project.run(*TRAIN, check=False)
    os.kill(pid, signal.SIGCONT)
    assert second.returncode and f"process {pid} is already running this stage here" in second.stderr, second.stderr


def kill_again(moment: Moment) -> Callable:
    """Go on, and kill that too."""
    return lambda project: interrupt(project, moment, to_all(signal.SIGKILL))
