"""How long each stage took: metrics/timings.json for a reader, .ckpt/timings.json for what a stage says at its start.

The second one is of this machine and remembers what the stage ran on, for minutes of another machine, or of other data,
are no forecast.
"""

import resource
import sys
from pathlib import Path
from typing import Any

from tunelock.run.files import read_json, write_json
from tunelock.run.machines import sum_up_inputs
from tunelock.run.terminal import format_duration

TIMINGS = Path("metrics/timings.json")
_SEEN_HERE = Path(".ckpt/timings.json")


def describe_last_run(name: str, entry: dict[str, Any]) -> str:
    """What is known of how long a stage takes, in words; empty if nothing is. `entry` is that of dvc.yaml."""
    here = _read_timings(_SEEN_HERE).get(name)
    if here is None:
        seconds = _read_timings(TIMINGS).get(f"{name}_seconds")
        return f"{format_duration(seconds, True)} where metrics/timings.json was made" if seconds is not None else ""
    duration = format_duration(here["seconds"], rounded=True)
    if here["inputs"] == sum_up_inputs(entry):
        return f"about {duration}, as last time"
    return f"{duration} the last time, with other inputs"


def record_timing(name: str, entry: dict[str, Any], seconds: float) -> None:
    """Note wall time and peak memory in files that are no stage's outs, so `dvc.lock` ignores the clock."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    figures = {f"{name}_seconds": round(seconds, 1), f"{name}_peak_rss_gb": round(peak / 1e9, 2)}
    write_json(TIMINGS, _read_timings(TIMINGS) | figures)
    here = {name: {"seconds": round(seconds, 1), "inputs": sum_up_inputs(entry)}}
    write_json(_SEEN_HERE, _read_timings(_SEEN_HERE) | here)


def _read_timings(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    return found
