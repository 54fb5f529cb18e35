"""What `tunelock remote doctor` asks a cluster: whether it would take a job of remote.yaml, and a look from a node."""

import json
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.remote.there.locking import hold
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.slurm_calls import call_slurm, run_slurm
from tunelock.remote.there.slurm_nodes import Nodes, has_gpus, list_nodes, pick_nodes
from tunelock.remote.there.slurm_queue import read_exit, read_queue
from tunelock.remote.there.slurm_reasons import explain_end, explain_wait
from tunelock.remote.there.slurm_refusals import refuse_impossible
from tunelock.remote.there.slurm_script import list_sbatch_options, write_script

_FREE = ("idle", "mix")
_POLL = 0.3  # seconds


class _DoctorLine(NamedTuple):
    """A line of the doctor. `good` is None where it is worth knowing and neither good nor bad."""

    good: bool | None
    sentence: str


def check_slurm(order: dict[str, Any]) -> Iterator[_DoctorLine]:
    """Whether the cluster would take a job of this order; nothing is put into its queue."""
    try:
        yield _DoctorLine(True, f"{run_slurm('sbatch', '--version').strip()} answers")
        nodes = list_nodes()
        chosen = pick_nodes(nodes, order["slurm"]["partition"])
        if chosen:
            yield from _check_partition(chosen, order)
        refuse_impossible(order, list_sbatch_options(order))
        yield _DoctorLine(True, "Slurm would take the job as remote.yaml asks for it")
    except Refused as refusal:
        yield _DoctorLine(False, str(refusal))
        return
    if shutil.which("sacct") and call_slurm("sacct", "-n", "-X").returncode == 0:
        yield _DoctorLine(True, "it keeps accounts, so `status` can say days later how a job ended")
    else:
        yield _DoctorLine(None, "it keeps no accounts: how a job ended without a word is known for some minutes only")


def _check_partition(chosen: list[Nodes], order: dict[str, Any]) -> Iterator[_DoctorLine]:
    """What the partition is like now."""
    name, gres = chosen[0].partition, order["slurm"]["gres"]
    if not any(one.up for one in chosen):
        yield _DoctorLine(None, f"partition '{name}' is down; jobs wait until it is up again")
    fitting = [one for one in chosen if has_gpus(one, order["slurm"])]
    free = sum(one.number for one in fitting if one.state in _FREE)
    with_gpus = f" with {gres}" if gres else ""
    count = sum(one.number for one in fitting)
    yield _DoctorLine(bool(fitting), f"partition '{name}' has {count} node{'s' * (count != 1)}{with_gpus}")
    if fitting:
        told = f"room for a job now: on {free} of {count}" if free else "room for a job now: on none, so it would wait"
        yield _DoctorLine(None, told)


def probe_node(root: Path, order: dict[str, Any], code: Path, patience: float = 60.0) -> Iterator[_DoctorLine]:
    """Run a job of some seconds and say what it sees on its node; it is cancelled if it has to wait `patience` seconds.

    The folder is to be seen by the node, with locks that hold from machine to machine.
    """
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=root))
    try:
        with hold(folder / "lock"):
            yield from _probe(folder, order, code, patience)
    except Refused as refusal:
        yield _DoctorLine(False, str(refusal))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _probe(folder: Path, order: dict[str, Any], code: Path, patience: float) -> Iterator[_DoctorLine]:
    command = f"{shlex.quote(sys.executable)} -m {__package__}.probe {shlex.quote(str(folder))}"
    script = write_script(order, f"env PYTHONPATH={shlex.quote(str(code))} {command}")
    options = list_sbatch_options(order | {"time_limit_s": 60, "signal_before_s": 1})
    log = str(folder / "log.txt").replace("%", "%%")
    submitted = run_slurm(
        "sbatch",
        "--parsable",
        "--job-name=tunelock-probe",
        f"--output={log}",
        f"--chdir={folder}",
        *options,
        given=script,
    )
    number = submitted.strip().splitlines()[-1].partition(";")[0]
    try:
        yield from _await_answer(folder, number, patience)
    finally:
        call_slurm("scancel", number)


def _await_answer(folder: Path, number: str, patience: float) -> Iterator[_DoctorLine]:
    answer, until = folder / "answer.json", time.monotonic() + patience
    while time.monotonic() < until:
        if answer.exists():
            yield from (_DoctorLine(*line) for line in json.loads(answer.read_text(encoding="utf-8")))
            return
        entry = read_queue().entries.get(number)
        if entry is None or entry.state in ("FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "CANCELLED"):
            last = (folder / "log.txt").read_text(errors="replace").strip() if (folder / "log.txt").exists() else ""
            cause = explain_end("", entry.state if entry else "", read_exit(number), str(folder.parent), last[-300:])
            yield _DoctorLine(False, f"a job of a few seconds failed on a node: {cause.partition('; `tunelock')[0]}")
            return
        time.sleep(_POLL)
    reason = explain_wait(entry.reason, entry.expected) if entry.state == "PENDING" else "it has not answered"
    yield _DoctorLine(
        None, f"a job of a few seconds did not come to run within {patience:.0f} s ({reason}); ask again later"
    )
