"""Interrupt training at random moments and show that it ends with the bits of an uninterrupted run.

    python -m benchmarks.interrupt [--kills 20] [--stops 10] [--alone] [--method lora|qlora] [--dropout 0.1] [--seed 0]

In a copy of this repository with a tiny model (the fixtures of `tests/conftest.py`) `dvc repro` trains once in peace.
Then each line of the table starts it anew, interrupts it, runs it again until it is done, and compares what must not
differ: the adapter, the curves, all metrics but the timings, and `dvc.lock`. Exits with 1 at a difference. Dropout adds
random numbers to what a resume restores; `--dropout 0` has rows joined (`tunelock.model.sharing`) and layers fused.
A stop on request (`--stops`) must end with a checkpoint of the step that was being made, or of one right before it.
`--alone` leaves out the lines after those two kinds.

The disk is full for real: `.ckpt` is a file system of too few kilobytes, mounted in a name space of its own with
util-linux's `unshare`, which needs no root rights where the kernel allows user name spaces.
"""

import argparse
import inspect
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, SIGUSR1

from benchmarks import meanwhile
from benchmarks.interruption import (
    Moment,
    Peace,
    arrive,
    forget_training,
    interrupted,
    resumed_from,
    run_in_peace,
    same_bits,
    start,
    stop_on_request,
    to_all,
    to_dvc,
    to_trainer,
)
from tests import conftest
from tests.conftest import Project

# What a resume has to restore: dropout's random numbers, the middle of an epoch, a best checkpoint before the last.
PARAMS = {
    "lora_dropout": 0.1,
    "max_train_samples": 32,
    "num_train_epochs": 3,
    "num_threads": 1,
    "learning_rate": 0.05,
    "lr_scheduler_type": "constant",
    "save_total_limit": 3,
    "eval_steps": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
}
COLUMNS = ("number", "interrupted by", "after", "seconds", "inside a save", "resumed from step", "same bits")
ON_A_BAD_DISK = (
    'mount -t tmpfs -o "$0" none .ckpt && { dvc repro train; echo "exit code $?"; } '
    "&& mount -o remount,rw,size=1g .ckpt && dvc repro train"
)


def tiny_project(folder: Path, **params: object) -> Project:
    """The project of the tests, built: their fixtures, called as the plain functions that they are."""

    class Folders:
        @staticmethod
        def mktemp(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

    plain = {name: inspect.unwrap(getattr(conftest, name)) for name in (
        "real_gguf", "tokenizer", "tiny_model", "tiny_params"
    )}  # fmt: skip
    model = plain["tiny_model"](plain["tokenizer"](plain["real_gguf"](Folders)), Folders)
    return conftest.build(folder / "built" / "clone", {**plain["tiny_params"](model), **params})


def random_kills(count: int, peace: Peace, rng: random.Random) -> Iterator[tuple[str, Moment, Callable]]:
    """`kill -9` at random moments: half of them at a save, the others while it trains or anywhere."""
    save_seconds = statistics.median(peace.saves.values())
    for number in range(count):
        if number % 2:
            moment = Moment(f"save {rng.choice(list(peace.saves))}", rng.uniform(0, save_seconds))
        elif number % 4:
            moment = Moment("training", rng.uniform(0, peace.training))
        else:
            moment = Moment("start", rng.uniform(0, peace.total))
        if number % 6 == 5:
            yield "kill -9, trainer alone", moment, to_trainer(SIGKILL)
        else:
            yield "kill -9", moment, to_all(SIGKILL)


def random_stops(count: int, peace: Peace, rng: random.Random) -> Iterator[tuple[str, Moment, Callable]]:
    """Stops on request at random moments: half of them at a save, the others while it trains or validates."""
    save_seconds = statistics.median(peace.saves.values())
    for number in range(count):
        if number % 2:
            moment = Moment(f"save {rng.choice(list(peace.saves)[:-1])}", rng.uniform(0, save_seconds))
        else:
            moment = Moment("training", rng.uniform(0, peace.training))
        if number % 4 < 2:
            yield "SIGUSR1", moment, stop_on_request(SIGUSR1)
        else:
            yield "SIGTERM, trainer alone", moment, stop_on_request(SIGTERM)


def other_interruptions(peace: Peace) -> Iterator[tuple]:
    """Other signals, and what may happen between an interruption and the next run."""
    steps = list(peace.saves)
    early, middle, late = (Moment(f"save {steps[len(steps) * part // 8]}") for part in (2, 4, 7))
    yield "SIGTERM", late, to_all(SIGTERM)
    yield "SIGUSR1 twice", middle, stop_on_request(SIGUSR1, times=2)
    yield "Ctrl-C", middle, to_all(SIGINT)
    yield "kill -9 of DVC alone, then a second run", early, to_dvc(SIGKILL), meanwhile.refuse_a_second_run
    yield "SIGTERM to DVC alone, then a second run", early, to_dvc(SIGTERM), meanwhile.refuse_a_second_run
    yield "kill -9 twice", early, to_all(SIGKILL), meanwhile.kill_again(late)
    yield "kill -9, then a bit flipped", late, to_all(SIGKILL), meanwhile.flip_a_bit
    yield "kill -9, then a file cut", late, to_all(SIGKILL), meanwhile.cut_in_half
    yield "kill -9, then the clock stepped back", late, to_all(SIGKILL), meanwhile.step_the_clock_back
    yield "kill -9, then another seed, and back", late, to_all(SIGKILL), meanwhile.train_with_other_params


def on_a_bad_disk(project: Project, peace: Peace, options: str) -> tuple[str, ...]:
    """Train with `.ckpt` mounted with `options`, then mend the mount and train again."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        return options, "", "", "", "not tried: unshare -rm is not allowed here"
    forget_training(project)
    (project.folder / ".ckpt").mkdir()
    began = time.time()
    done = project.run("unshare", "-rm", "sh", "-c", ON_A_BAD_DISK, options)
    assert "train: cannot write" in done.stderr or "cannot be written" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "exit code 0" not in done.stdout, done.stderr
    inside = "yes" if "cannot be written" in done.stderr else "no"
    return options, f"{time.time() - began:.1f}", inside, resumed_from(done.stdout), same_bits(project, peace)


def queued(project: Project, name: str, moment: Moment | None = None) -> tuple[list[str], str]:
    """Run a queued experiment with another seed, killing its trainer at a moment; its files' hashes, its output."""
    project.run("dvc", "exp", "run", "--queue", "--name", name, "-S", "seed=1")
    start(project, "dvc", "queue", "start").wait()  # its worker keeps our pipes open, were there any, until it is done
    if moment and arrive(project, None, moment):
        to_trainer(SIGKILL)(project, None)
    while "Queued" in (status := project.run("dvc", "queue", "status").stdout) or "Running" in status:
        time.sleep(1)
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    files = [project.run("git", "ls-tree", "-r", ref).stdout for ref in refs if ref.endswith(f"/{name}")]
    printed = project.run("dvc", "queue", "logs", name, check=False).stdout
    return [line for text in files for line in text.splitlines() if "timings.json" not in line], printed


def queued_and_killed(project: Project, moment: Moment) -> tuple[str, ...]:
    """A queued experiment in peace, then one that is killed and queued again."""
    forget_training(project)
    expected, _ = queued(project, "in-peace")
    forget_training(project)
    began = time.time()
    killed, _ = queued(project, "killed", moment)
    found, printed = queued(project, "again")
    same = "yes" if expected == found and expected and not killed else "NO"
    return moment.after, f"{time.time() - began:.1f}", "no", resumed_from(printed), same


def lines(project: Project, kills: int, stops: int, alone: bool, seed: int) -> Iterator[tuple[str, ...]]:
    """The lines of the table, each as soon as it is known."""
    peace, rng = run_in_peace(project), random.Random(seed)
    others = () if alone else other_interruptions(peace)
    for what, *how in (*random_kills(kills, peace, rng), *random_stops(stops, peace, rng), *others):
        yield what, *interrupted(project, peace, *how)
    if alone:
        return
    yield "disk full", *on_a_bad_disk(project, peace, f"size={peace.checkpoint_bytes * 3 // 2048}k")
    yield "read-only folder", *on_a_bad_disk(project, peace, "ro")
    yield "kill -9 of a queued experiment", *queued_and_killed(project, Moment(f"saved {sorted(peace.saves)[1]}"))


def main(kills: int, stops: int, alone: bool, method: str, dropout: float, seed: int) -> None:
    """Print the table; exit with 1 if any run ended with other bits."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    with tempfile.TemporaryDirectory() as folder:
        # After larger steps the merge of this random model, rounded to bfloat16, is further off than the proof allows.
        smaller = {"learning_rate": 0.01} if method == "qlora" else {}
        project = tiny_project(Path(folder), **PARAMS | {"method": method, "lora_dropout": dropout} | smaller)
        same = []
        for number, line in enumerate(lines(project, kills, stops, alone, seed), 1):
            print(f"| {number} | {' | '.join(line)} |", flush=True)
            same.append(line[-1])
    print(f"\n{method}: {same.count('yes')} of {len(same)} ended with the bits of the uninterrupted run")
    sys.exit(any(cell.startswith("NO") for cell in same))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stops", type=int, default=10)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--method", choices=["lora", "qlora"], default="lora")
    parser.add_argument("--dropout", type=float, default=PARAMS["lora_dropout"])
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
