"""What the report is made of: the metrics in git, the rows of the evaluation, and the files that say how it was run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelock.records.scored_row import RowPair, is_held_out
from tunelock.report.plot_rows import CalibrationRow, LengthRow, LossRow, TaskRow
from tunelock.run.errors import Stop
from tunelock.run.files import read_json, read_jsonl
from tunelock.run.machines import MACHINES
from tunelock.run.params import load_yaml

NEEDED = {  # file: the stage that makes it
    "metrics/evaluate.json": "metrics",
    "metrics/claims.json": "metrics",
    "metrics/fresh_eyes.json": "metrics",
    "metrics/train.json": "metrics",
    "metrics/diagnosis.json": "metrics",
    "metrics/plots/train_loss.json": "metrics",
    "metrics/plots/eval_loss.json": "metrics",
    "metrics/plots/tasks_test.json": "metrics",
    "metrics/plots/tasks_golden.json": "metrics",
    "metrics/plots/calibration.json": "metrics",
    "metrics/retention.json": "metrics",
    "metrics/data.json": "clean",
    "metrics/split.json": "split",
    "metrics/lengths.json": "card",
    "metrics/length_histogram.json": "card",
    "metrics/timings.json": "validate",
    "models/evaluation/base.jsonl": "evaluate_base",
    "models/evaluation/tuned.jsonl": "evaluate",
    "dvc.lock": "",
}
ANSWER_FILES = tuple(f"models/evaluation/{model}.jsonl" for model in ("base", "tuned"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The files below metrics/ by name (`tasks_test` is metrics/plots/tasks_test.json), params.yaml and dvc.lock."""

    evaluate: dict[str, float]
    claims: dict[str, Any]
    fresh_eyes: dict[str, Any]
    train: dict[str, float]
    diagnosis: dict[str, Any]
    train_loss: list[LossRow]
    eval_loss: list[LossRow]
    tasks_test: list[TaskRow]
    tasks_golden: list[TaskRow]
    calibration: list[CalibrationRow]
    retention: dict[str, float]
    data: dict[str, Any]
    split: dict[str, Any]
    lengths: dict[str, Any]
    length_histogram: list[LengthRow]
    timings: dict[str, float]
    machines: dict[str, Any]  # empty for a run of before they were noted
    params: dict[str, Any]
    lock: dict[str, Any]


def read_evidence() -> Evidence:
    """What the report is made of, without the evaluated rows (see `read_pairs`).

    Raises:
        Stop: something is not there yet; it says what, and which command makes it.
    """
    _refuse_gaps()
    found = {Path(file).stem: read_json(file) for file in NEEDED if file.startswith("metrics/")}
    machines = read_json(MACHINES) if MACHINES.exists() else {}
    return Evidence(**found, machines=machines, params=load_yaml("params.yaml"), lock=load_yaml("dvc.lock"))


def _refuse_gaps() -> None:
    """Stop at files that are not there: half a report would pass for a whole one."""
    gaps = [file for file in NEEDED if not Path(file).exists()]
    if gaps:
        stages = " ".join(sorted({NEEDED[file] for file in gaps} - {""}))
        others = f" and {len(gaps) - 1} more of the report's files are" if len(gaps) > 1 else " is"
        command = f"dvc repro {stages}".strip()
        raise Stop(f"{gaps[0]}{others} missing; run `{command}` to make what is.")


def read_pairs() -> Iterator[RowPair]:
    """Each row of test and golden as base and tuned left it, one pair at a time."""
    return (pair for pair in _read_all_pairs() if is_held_out(pair.base))


def read_general_pairs() -> Iterator[RowPair]:
    """Each general row as base and tuned left it, one pair at a time."""
    return (pair for pair in _read_all_pairs() if not is_held_out(pair.base))


def _read_all_pairs() -> Iterator[RowPair]:
    """Each evaluated row as base and tuned left it.

    Raises:
        Stop: the two files are not of the same rows.
    """
    base_file, tuned_file = ANSWER_FILES
    tuned_rows = read_jsonl(tuned_file)
    for line, base in enumerate(read_jsonl(base_file), 1):
        tuned = next(tuned_rows, None)
        if tuned is None or base["id"] != tuned["id"]:
            other = tuned and tuned["id"]
            raise Stop(f"{tuned_file}:{line}: has row {other} where {base_file} has {base['id']}; run `dvc repro`.")
        yield RowPair(base, tuned)
    if next(tuned_rows, None) is not None:
        raise Stop(f"{tuned_file} has more rows than {base_file}; run `dvc repro` to score both on the same.")
