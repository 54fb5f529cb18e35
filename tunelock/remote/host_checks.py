"""`tunelock remote doctor`: whether a host is ready for jobs, a line for each thing, and what to do."""

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.remote.connection import Connection, connect
from tunelock.remote.hosts import Host
from tunelock.remote.orders import describe_host, read_environment
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.run.terminal import format_duration, paint_text

_CLOCK = 60.0  # seconds that two clocks may differ
_LEVELS: dict[bool | None, str] = {True: "ok", None: "note", False: "wrong"}
_STYLES = {"ok": "green", "note": "dim", "wrong": "red"}
_MARGIN = " " * 18  # below level and topic
_LEAST = 40  # columns of a sentence
_FILES = ("locks/cpu.txt", "locks/cuda.txt", "tunelock/launcher.sh")  # what an environment is made from


class _HostLine(NamedTuple):
    """A thing that was looked at: `ok`, `note` (neither good nor bad) or `wrong`, and a sentence."""

    topic: str
    level: str
    sentence: str


def check_host(host: Host, install: bool, tell: Callable[[str], None]) -> Iterator[_HostLine]:
    """Look at a host, from the login on; with `install` make its environment too, `tell` gets how far that is."""
    try:
        read_environment(host)
    except Stop as stop:
        yield _HostLine("variables", "wrong", str(stop))
    with connect(host) as connection:
        start = time.monotonic()
        try:
            connection.ask("status", jobs=None)
        except Stop as stop:
            yield _HostLine("login", "wrong", str(stop))
            return
        if host.engine != "local":
            yield _HostLine(
                "login", "ok", f"ssh comes in and Python answers, in {format_duration(time.monotonic() - start)}"
            )
        need = _describe_need(host)
        if install:
            yield _install_environment(connection, need, tell)
        yield from _ask_findings(connection, need)


def describe_checked(checked: _HostLine, width: int) -> str:
    """What the doctor says of a thing; several lines where the terminal has fewer columns than the sentence needs."""
    room = max(_LEAST, width - len(_MARGIN))
    lines = textwrap.wrap(checked.sentence, room, break_long_words=False, break_on_hyphens=False)
    level = paint_text(f"{checked.level:5}", _STYLES[checked.level])
    return f"{level}  {checked.topic:9}  " + f"\n{_MARGIN}".join(lines)


def _ask_findings(connection: Connection, need: dict[str, Any]) -> Iterator[_HostLine]:
    before = time.time()
    try:
        told = connection.ask("doctor", order=describe_host(connection.host), need=need)
    except Stop as stop:
        yield _HostLine("folder", "wrong", str(stop))
        return
    for topic, good, sentence in told["findings"]:
        yield _HostLine(topic, _LEVELS[good], sentence)
    yield _compare_clocks(told["started_at"], before, told["answered_at"], time.time())


def _compare_clocks(started: float, before: float, answered: float, after: float) -> _HostLine:
    """Its clock beside ours, whatever the way between them takes."""
    behind, ahead = before - started, answered - after
    if max(behind, ahead) > _CLOCK:
        off = f"{format_duration(max(behind, ahead))} {'behind' if behind > ahead else 'ahead of'} this one"
        return _HostLine("clock", "note", f"its clock is {off}; jobs do not mind, but https and make may")
    return _HostLine("clock", "ok", "its clock is right")


def _install_environment(connection: Connection, need: dict[str, Any], tell: Callable[[str], None]) -> _HostLine:
    """Make the environment; on a cluster that is for a node to do, whose GPUs the login node lacks."""
    if connection.host.engine == "slurm":
        return _HostLine("install", "note", "on a cluster the first job makes the environment, on its node")
    files = {name: Path(name).read_text(encoding="utf-8") for name in _FILES if Path(name).exists()}
    try:
        made = connection.ask("install", tell=tell, need=need, files=files)
    except Stop as stop:
        return _HostLine("install", "wrong", str(stop))
    return _HostLine("install", "ok", f"jobs find their packages in {made}")


def _describe_need(host: Host) -> dict[str, Any]:
    """What a job of this project needs there."""
    known = describe_host(host)
    locks = {Path(name).stem: Path(name).read_text(encoding="utf-8") for name in _FILES[:2] if Path(name).exists()}
    queue = known["slurm"]
    facts = {
        "queue_gpus": "gpu" in (queue["gres"] or "") if queue else None,
        "locks": locks,
        "run_bytes": _measure_run(),
    }
    return {key: known[key] for key in ("python", "venv", "gpus")} | facts


def _measure_run() -> int:
    """Bytes of the data and results of a run, by dvc.lock; 0 before the first run."""
    if not Path("dvc.lock").exists():
        return 0
    sizes: dict[str, int] = {}
    for stage in load_yaml("dvc.lock").get("stages", {}).values():
        sizes |= {item.get("md5", item["path"]): item.get("size", 0) for item in stage.get("outs", [])}
    return sum(sizes.values())
