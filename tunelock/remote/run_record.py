"""What a commit says of its run: dvc.lock, the metrics in git, and on what machines it was made. No data is needed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_value
from tunelock.run.machines import MACHINES, PIN_FILES, read_pins, sum_up_locked_inputs
from tunelock.run.revisions import find_commit, read_bytes_at, read_file_at, read_json_at, run_git

_CODE = ("stages", "tunelock")
_NOT_FACTS = ("machine", "inputs")  # of a stage's note in metrics/machines.json

Figures = dict[str, Any]


@dataclass(frozen=True)
class LockedStage:
    """A stage as dvc.lock has it. code, inputs and outs: md5 by path; params by `file:key`, of params.yaml by key.

    metrics: the values of its metrics files by `file:key`; machine: facts by name, empty where none are of this
    result.
    """

    command: str
    code: dict[str, str]
    inputs: dict[str, str]
    params: dict[str, Any]
    outs: dict[str, str]
    metrics: Figures = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EditedFile:
    """A file in git whose bytes are not those that dvc.lock says a stage made."""

    stage: str
    path: str


@dataclass(frozen=True)
class RunRecord:
    """A run. stages are in the order in which they run; pins: the version of each package that the commit asks for."""

    revision: str
    commit: str
    stages: dict[str, LockedStage]
    pins: dict[str, str]
    edited: list[EditedFile] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The same for runs of the same code, params and data, whatever came out of them."""
        made = set(chain.from_iterable(stage.outs for stage in self.stages.values()))
        parts = {}
        for name, stage in self.stages.items():
            given = {path: md5 for path, md5 in stage.inputs.items() if not is_part(path, made)}
            parts[name] = [stage.command, stage.code, stage.params, given]
        return sha256_value(parts)[:16]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, of which `restore_run` makes the record again."""
        return asdict(self)


def restore_run(found: Mapping[str, Any]) -> RunRecord:
    """A record from its `as_json`."""
    stages = {name: LockedStage(**stage) for name, stage in found["stages"].items()}
    edited = [EditedFile(**one) for one in found["edited"]]
    return RunRecord(found["revision"], found["commit"], stages, found["pins"], edited)


def read_run(revision: str) -> RunRecord:
    """Read the run of a revision out of git.

    Raises:
        Stop: git has no such revision, or it has no dvc.lock that can be read.
    """
    commit = find_commit(revision)
    lock, dag = _read_yaml_at(commit, "dvc.lock"), _read_yaml_at(commit, "dvc.yaml")
    said = read_json_at(commit, str(MACHINES), {})
    stages = {}
    for name, entry in lock["stages"].items():
        metrics = _read_metrics(commit, dag.get("stages", {}).get(name, {}))
        stages[name] = _make_stage(entry, metrics, _pick_facts(said, name, entry))
    pins = read_pins(*(read_file_at(commit, file) or "" for file in PIN_FILES))
    ordered = {name: stages[name] for name in _order_stages(stages)}
    return RunRecord(revision, commit, ordered, pins, _find_edited_files(commit, ordered))


def _read_yaml_at(commit: str, path: str) -> dict[str, Any]:
    text = read_file_at(commit, path)
    if text is None:
        raise Stop(f"commit {commit[:7]} has no {path}, so it does not say what it gives; run `dvc repro` and commit.")
    try:
        found = YAML(typ="safe", pure=True).load(text)
        found["stages"].items()
    except (YAMLError, TypeError, KeyError, AttributeError):
        raise Stop(f"{path} of commit {commit[:7]} cannot be read; run `dvc repro` and commit it again.") from None
    return found


def _make_stage(entry: dict[str, Any], metrics: Figures, facts: dict[str, Any]) -> LockedStage:
    deps = {dep["path"]: dep.get("md5", "") for dep in entry.get("deps", [])}
    code = {path: md5 for path, md5 in deps.items() if path.split("/")[0] in _CODE}
    params = {}
    for file, values in entry.get("params", {}).items():
        params |= {key if file == "params.yaml" else f"{file}:{key}": value for key, value in values.items()}
    outs = {out["path"]: out.get("md5", "") for out in entry.get("outs", [])}
    inputs = {path: md5 for path, md5 in deps.items() if path not in code}
    return LockedStage(entry["cmd"], code, inputs, params, outs, metrics, facts)


def _pick_facts(said: dict[str, Any], name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What metrics/machines.json says of a stage, if that was noted of a run on the inputs that the lock names."""
    note = said.get("stages", {}).get(name)
    if not note or note.get("inputs") != sum_up_locked_inputs(entry):
        return {}
    own = {key: value for key, value in note.items() if key not in _NOT_FACTS}
    return said.get("machines", {}).get(note.get("machine"), {}) | own


def _read_metrics(commit: str, entry: dict[str, Any]) -> Figures:
    """The values of the metrics files that dvc.yaml lists for a stage, by `file:key`, nested keys joined by dots."""
    figures: Figures = {}
    for item in entry.get("metrics", []):
        path = item if isinstance(item, str) else next(iter(item))
        found = read_json_at(commit, path, {})
        figures |= {f"{path}:{key}": value for key, value in _flatten(found).items()}
    return figures


def _flatten(value: Any, prefix: str = "") -> Figures:
    if not isinstance(value, dict):
        return {prefix: value}
    found: Figures = {}
    for key, inner in value.items():
        found |= _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _order_stages(stages: Mapping[str, LockedStage]) -> list[str]:
    """The names of the stages, each behind those whose outs it takes; else in the order of the lock."""
    sorter = TopologicalSorter({name: [] for name in stages})
    for name, stage in stages.items():
        before = [other for other in stages if other != name and _takes_from(stage, stages[other])]
        sorter.add(name, *before)
    try:
        return list(sorter.static_order())
    except CycleError:
        raise Stop("dvc.lock has stages that wait for each other; run `dvc repro` and commit it again.") from None


def _takes_from(stage: LockedStage, other: LockedStage) -> bool:
    return any(is_part(path, other.outs) for path in stage.inputs)


def is_part(path: str, outs: Iterable[str]) -> bool:
    """Whether a path is one of the outs, lies in one or holds one."""
    return any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in outs)


def _find_edited_files(commit: str, stages: Mapping[str, LockedStage]) -> list[EditedFile]:
    """The outs that git holds itself and whose bytes dvc.lock does not name."""
    edited = []
    for name, stage in stages.items():
        for path, md5 in stage.outs.items():
            found = _hash_out_at(commit, path, md5.endswith(".dir"))
            if found and found != md5:
                edited.append(EditedFile(name, path))
    return edited


def _hash_out_at(commit: str, path: str, folder: bool) -> str | None:
    """The md5 that DVC gives an out as git has it, of a folder that of its list of files; None if git has it not."""
    if not folder:
        content = read_bytes_at(commit, path)
        return None if content is None else _md5(content)
    names = run_git("ls-tree", "-r", "-z", "--name-only", commit, "--", f"{path}/").split("\0")
    files = {name.removeprefix(f"{path}/"): read_bytes_at(commit, name) for name in names if name}
    listed = [{"md5": _md5(content), "relpath": name} for name, content in sorted(files.items()) if content is not None]
    return f"{_md5(json.dumps(listed, sort_keys=True).encode())}.dir" if listed else None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
