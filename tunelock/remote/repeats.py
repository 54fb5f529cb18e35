"""Repeats of a run: what the same code, params and data gave again and again on one kind of hardware."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.remote.run_record import RunRecord, restore_run
from tunelock.run.files import read_json, write_json

REPEATS = Path(".ckpt/remote/repeats")
FEWEST = 2
# What makes a kind of hardware: where these are the same, the same kernels run.
_KIND = (
    "cpu",
    "cpu_extensions",
    "architecture",
    "gpu",
    "device",
    "torch",
    "cuda",
    "cudnn",
    "instruction_set",
    "threads",
)


class RepeatRange(NamedTuple):
    """The lowest and the highest value of a metric among the repeats."""

    lowest: float
    highest: float

    def covers(self, value: float) -> bool:
        """Whether a value is no farther from the nearest repeat than the repeats are from each other.

        Of normally distributed noise two repeats cover two thirds of further runs, three 87 %, five 97 % (simulated);
        so few repeats err on the side of "different". Repeats with the same bits cover nothing else.
        """
        width = self.highest - self.lowest
        return self.lowest - width <= value <= self.highest + width


def keep_repeat(record: RunRecord, root: Path = REPEATS) -> Path:
    """Write down what a run gave; the same commit a second time is the same repeat. Returns the file."""
    path = root / record.key / f"{record.commit}.json"
    write_json(path, record.as_json())
    return path


def read_repeats(record: RunRecord, root: Path = REPEATS) -> list[RunRecord]:
    """The repeats of a run that were kept, on whatever hardware they were made."""
    return [restore_run(read_json(path)) for path in sorted((root / record.key).glob("*.json"))]


def select_like(again: RunRecord, repeats: Iterable[RunRecord]) -> list[RunRecord]:
    """Those of the repeats that are of the same run as `again` and were made on its kind of hardware."""
    kind = _describe_kind(again)
    return [one for one in repeats if kind and one.key == again.key and _describe_kind(one) == kind]


def _describe_kind(record: RunRecord) -> str | None:
    """The kind of hardware that each stage ran on, None if it is not known of every stage."""
    if not all(stage.machine for stage in record.stages.values()):
        return None
    kinds = {name: list(map(stage.machine.get, _KIND)) for name, stage in record.stages.items()}
    return json.dumps(kinds, sort_keys=True)


def measure_repeat_range(stage: str, name: str, runs: Iterable[RunRecord]) -> RepeatRange | None:
    """The spread of a metric of a stage; None unless it is a finite number in every run."""
    values = [run.stages[stage].metrics.get(name) for run in runs]
    if not values or not all(map(is_number, values)):
        return None
    return RepeatRange(min(values), max(values))


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, for which there is such a thing as noise."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
