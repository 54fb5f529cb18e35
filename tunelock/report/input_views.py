"""What the report says of its inputs: rows from raw to split, params, outputs, and how long each stage took."""

import json
from typing import Any, NamedTuple

from tunelock.run.machines import describe_places


class FunnelStep(NamedTuple):
    """So many rows, and their share of the raw rows. kind: `level` where they are there, `loss` where they are lost."""

    label: str
    rows: int
    kind: str
    share: float


class StageTime(NamedTuple):
    """How long a stage took, its peak memory in GB, and where it ran; empty where nothing was noted."""

    stage: str
    seconds: float
    memory: float | None
    where: str


class Output(NamedTuple):
    """An output that dvc.lock names, with its digest."""

    stage: str
    path: str
    hash: str


def build_funnel(data: dict[str, Any], split: dict[str, Any]) -> list[FunnelStep]:
    """From raw rows to splits.

    Args:
        data: metrics/data.json; its total has rows, kept, and dropped and set_aside by reason.
        split: metrics/split.json; rows by split, and left_out by reason.
    """
    total, names = data["total"], [key for key in split if key != "left_out"]
    order = [key for key in ("train", "val", "test", "golden") if key in names]
    raw, lost = total["rows"], dict(total.get("dropped", {}))
    lost |= {f"set aside: {reason}": rows for reason, rows in total.get("set_aside", {}).items()}
    steps = [_make_level("raw rows", raw, raw), *_list_losses(lost, raw), _make_level("clean rows", total["kept"], raw)]
    steps += _list_losses(split.get("left_out", {}), raw)
    return steps + [_make_level(name, split[name]["rows"], raw) for name in order + sorted(set(names) - set(order))]


def _make_level(label: str, rows: int, raw: int) -> FunnelStep:
    return FunnelStep(label, rows, "level", rows / max(1, raw))


def _list_losses(reasons: dict[str, int], raw: int) -> list[FunnelStep]:
    """What took rows away, the most first."""
    order = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [FunnelStep(reason, rows, "loss", rows / max(1, raw)) for reason, rows in order]


def list_stage_times(timings: dict[str, float], machines: dict[str, Any]) -> list[StageTime]:
    """The stages of metrics/timings.json, the longest first, with where metrics/machines.json says that they ran."""
    places, rows = describe_places(machines), []
    for key, seconds in timings.items():
        stage = key.removesuffix("_seconds")
        if stage != key:
            rows.append(StageTime(stage, seconds, timings.get(f"{stage}_peak_rss_gb"), places.get(stage, "")))
    return sorted(rows, key=lambda row: (-row.seconds, row.stage))


def list_outputs(lock: dict[str, Any]) -> list[Output]:
    """Each output that dvc.lock names."""
    outputs = []
    for stage, entry in lock.get("stages", {}).items():
        outputs += [Output(stage, out["path"], out.get("md5", "")) for out in entry.get("outs", [])]
    return outputs


def write_params(params: dict[str, Any]) -> dict[str, str]:
    """Each param and its value as JSON, in the order of params.yaml."""
    return {key: _write_value(value) for key, value in params.items()}


def _write_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
