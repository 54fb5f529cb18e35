"""One interrupted training: begin anew, wait for a moment, interrupt, run again until done, compare the bits.

Used by `benchmarks.interrupt` and by its test, in a project of `tests/conftest.py`.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Project
from tunelock.run.hashing import hash_files, sha256_file
from tunelock.training.checkpoints import list_checkpoints, parse_step

TRAIN = ("dvc", "repro", "train")


@dataclass(frozen=True)
class Moment:
    """`delay` seconds after something is seen: `start`, `training`, `save STEP` (it began) or `saved STEP`."""

    after: str
    delay: float = 0.0


@dataclass(frozen=True)
class Peace:
    """What an uninterrupted run leaves, its seconds and those of its training, its saves by step, a save's bytes."""

    outcome: dict[str, str]
    total: float
    training: float
    saves: dict[int, float]
    checkpoint_bytes: int


def outcome(project: Project) -> dict[str, str]:
    """Digests of the files that must not tell whether a run was interrupted."""
    found = {"dvc.lock": sha256_file(project.folder / "dvc.lock")}
    for folder in ("models/adapter", "models/train", "metrics"):
        found |= {f"{folder}/{name}": digest for name, digest in hash_files(project.folder / folder).items()}
    del found["metrics/timings.json"]
    return found


def forget_training(project: Project) -> None:
    """Put the project back to where everything but train and what follows is done."""
    project.run("git", "checkout", "-q", "--", ".")
    for name in (".ckpt", "models/adapter", "models/train"):
        shutil.rmtree(project.folder / name, ignore_errors=True)
    for entry in (project.folder / ".dvc/cache/runs").glob("*/*/*"):
        if "stages.train" in entry.read_text():
            shutil.rmtree(entry.parent)  # DVC fails at an empty folder
    lock = project.folder / "dvc.lock"  # without its entry of train, from which DVC would restore the outs
    lock.write_text(re.sub(r"^  train:\n(?:    .*\n|  - .*\n)+", "", lock.read_text(), flags=re.MULTILINE))


def output(project: Project) -> Path:
    """Where what the last started command printed is."""
    return project.folder.parent / "output"


def start(project: Project, *command: str) -> subprocess.Popen:
    """Start a command in a process group of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it, children too
    with open(output(project), "w") as out:
        return subprocess.Popen(
            command, cwd=project.folder, env=project.env, stdout=out, stderr=out, start_new_session=True
        )


def roots(project: Project) -> Iterator[Path]:
    """The checkpoint folders of the runs that were begun and not ended."""
    return (path.parent for path in project.folder.glob(".ckpt/train/*/train.lock"))


def saved(project: Project) -> list[Path]:
    """The checkpoints of all such runs, each run's in the order of their steps."""
    return [path for root in roots(project) for path in list_checkpoints(root).values()]


def saving(project: Project) -> int | None:
    """The step of the checkpoint that is being written or removed."""
    found = [path for root in roots(project) for path in root.glob("checkpoint-*.partial")]
    return int(found[0].name.removeprefix("checkpoint-").removesuffix(".partial")) if found else None


def run_in_peace(project: Project) -> Peace:
    """Train without an interruption, watching when it does what."""
    forget_training(project)
    began, first, seen, size = time.time(), None, {}, 0
    run = start(project, *TRAIN)
    while run.poll() is None:
        first = first or (time.time() if any(roots(project)) else None)
        if (step := saving(project)) is not None and step >= max(seen, default=0):  # a lower one is being removed
            seen.setdefault(step, []).append(time.time())
        if not size and (whole := saved(project)):
            size = sum(file.stat().st_size for file in whole[0].iterdir())
        time.sleep(0.0005)
    ended = time.time()
    assert run.returncode == 0, output(project).read_text()
    project.run("dvc", "repro")
    saves = {step: times[-1] - times[0] for step, times in sorted(seen.items())}
    return Peace(outcome(project), ended - began, ended - first, saves, size)


def arrive(project: Project, run: subprocess.Popen | None, moment: Moment) -> bool:
    """Wait for a moment, half an hour at most; False if the run, or the training it is to hit, ended before it."""
    kind, _, step = moment.after.partition(" ")
    deadline = time.time() + 1800
    seen = {
        "start": lambda: True,
        "training": lambda: any(roots(project)),
        "save": lambda: saving(project) == int(step),
        "saved": lambda: int(step) <= max(map(parse_step, saved(project)), default=0),
    }
    while not seen[kind]():
        if (run and run.poll() is not None) or time.time() > deadline:
            return False
        time.sleep(0.0002)
    time.sleep(moment.delay)
    return (not run or run.poll() is None) and (kind == "start" or any(roots(project)))


def to_all(number: int) -> Callable:
    """A signal to DVC, its shell and the trainer, as a terminal or a job system sends it."""
    return lambda project, run: os.killpg(run.pid, number)


def to_trainer(number: int) -> Callable:
    """A signal to the trainer alone, as the kernel sends it when memory is short."""
    return lambda project, run: os.kill(trainer_pid(project), number)


def stop_on_request(number: int, times: int = 1) -> Callable:
    """A signal to the trainer, at which it saves and ends with exit code 75; DVC says so."""

    def send(project: Project, run: subprocess.Popen) -> None:
        pid = trainer_pid(project)
        os.killpg(run.pid, signal.SIGCONT)
        for _ in range(times):
            os.kill(pid, number)
        assert run.wait() != 0, "the run was done, in spite of the request"
        said = output(project).read_text()
        assert "train: stopped on request" in said and "exited with 75" in said, said
        step = "".join(re.findall(r"stopped on request at step ([0-9]+) of", said))
        assert not step or int(step) == parse_step(saved(project)[-1]), "the step that it says has no checkpoint"
        assert not (project.folder / "models/adapter").exists(), "a result was handed on"

    return send


def trainer_pid(project: Project) -> int:
    """The process that trains."""
    return int(next(roots(project)).joinpath("train.lock").read_text())


def to_dvc(number: int) -> Callable:
    """A signal to DVC alone: the trainer goes on without it."""
    return lambda project, run: os.kill(run.pid, number)


def interrupt(project: Project, moment: Moment, send: Callable) -> tuple[float, bool]:
    """Start training and interrupt it; the seconds until then, and whether a save was under way."""
    while True:
        began, run = time.time(), start(project, *TRAIN)
        if arrive(project, run, moment):
            break
        forget_training(project)  # this run was quicker than the one in peace
        moment = Moment(moment.after, moment.delay * 0.8)
    seconds = time.time() - began
    os.killpg(run.pid, signal.SIGSTOP)  # nothing moves while we look
    inside = saving(project) is not None
    send(project, run)
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGCONT)
    assert run.wait() != 0, "the run was done, in spite of the interruption"
    return seconds, inside


def finish(project: Project, *command: str) -> str:
    """Run a command again until it is done, for as long as another run is in its way; what it printed."""
    printed = ""
    while True:
        done = project.run(*command, check=False)
        printed += done.stdout + done.stderr
        if done.returncode == 0:
            return printed
        assert "is already running this stage here" in done.stderr, printed
        time.sleep(1)


def resumed_from(printed: str) -> str:
    """The step that a run said it goes on from."""
    return "".join(re.findall(r"going on from \S*checkpoint-([0-9]+)", printed)) or "start"


def same_bits(project: Project, peace: Peace) -> str:
    """`yes`, or what differs from the uninterrupted run."""
    project.run("dvc", "repro")
    assert project.run("dvc", "status", "--json").stdout.strip() == "{}"
    found, wanted = outcome(project), peace.outcome
    different = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return f"NO: {', '.join(different)}" if different else "yes"


def interrupted(
    project: Project, peace: Peace, moment: Moment, send: Callable, meanwhile: Callable = lambda project: None
) -> tuple[str, ...]:
    """One interrupted and finished run: its moment, seconds, inside a save, resumed from, same bits."""
    forget_training(project)
    seconds, inside = interrupt(project, moment, send)
    meanwhile(project)
    printed = finish(project, *TRAIN)
    return moment.after, f"{seconds:.1f}", "yes" if inside else "no", resumed_from(printed), same_bits(project, peace)
