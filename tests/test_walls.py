"""dvc.yaml says what the code does, and the walls stand: stages, rooms, floors."""

import ast
import importlib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.walls import (
    DESCRIBED,
    ROOT,
    all_files,
    arrows,
    has_code,
    imported_at_the_top,
    imported_modules,
    imports_of,
    reached,
    room_of,
    source_of,
)
from tunelock.run.params import load_yaml
from tunelock.schema.params_schema import Schema

DAG = load_yaml(ROOT / "dvc.yaml")["stages"]
FOR_COMMANDS = {  # keys that no stage reads, or `validate` alone: no result depends on them
    "gate": "tunelock/pull_request/two_commits.py",
    "licence_required": "tunelock/schema/sources_params.py",
}
MODULES = {name: entry["cmd"].split()[2] for name, entry in DAG.items()}
ONLOOKERS = ("watching",)  # write to no out (test_onlookers.py), so no stage depends on them

DATA_STAGES = ("validate", "ingest", "clean", "split")  # build no model

# The floors, from the ground up: a room may import those that its line names, and no other.
FLOORS = {
    "run": (),
    "schema": ("cleaning", "model/methods", "reading", "run", "training/penalties"),
    "records": ("run",),
    "metrics": ("records",),
    "diagnosis": ("model/methods", "records"),
    "fetching": ("run",),
    "privacy": (),
    "reading": ("fetching", "records", "run"),
    "cleaning": ("privacy", "records", "run"),
    "splitting": ("records", "run"),
    "rendering": ("records", "run"),
    "model": ("rendering", "run"),
    "model/methods": ("run",),
    "planning": ("model/methods", "rendering", "run", "schema"),
    "watching": ("diagnosis", "model", "model/methods", "planning", "privacy", "run"),
    "training/kernels": ("model",),
    "training/penalties": ("model", "model/methods", "rendering", "run"),
    "training": ("model", "model/methods", "rendering", "run", "training/kernels", "watching"),
    "answering": ("model", "records", "rendering", "run"),
    "claims": ("diagnosis", "metrics", "records", "run"),
    "review": ("records", "report", "run"),
    "shipping": ("run",),
    "chatting": ("model", "records", "rendering", "run"),
    "previewing": ("cleaning", "fetching", "reading", "records", "rendering", "run", "splitting"),
    "report": ("metrics", "records", "run"),
    "pull_request": ("claims", "metrics", "records", "report", "run"),
    "remote": ("privacy", "remote/there", "run"),
    "remote/there": (),
    "harness": ("metrics", "model", "records", "rendering", "run"),
}
MOST_ARROWS = 99


def keys_read(module: str) -> set[str]:
    """The params that a stage's code reads, as attributes of `params` or by `params.select(TUPLE)`."""
    keys = set()
    for node in ast.walk(ast.parse(source_of(module).read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params":
            keys.add(node.attr)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.select":
            keys |= set(getattr(importlib.import_module(module), ast.unparse(node.args[0])))
    return keys - {"select"}


def keys_declared(entry: dict) -> set[str]:
    return {item for item in entry.get("params", []) if isinstance(item, str)}


def reached_by(stage: str) -> set[Path]:
    """The files whose code a stage runs."""
    described = DESCRIBED if stage in DATA_STAGES else ()
    return reached(source_of(MODULES[stage]), but_not=ONLOOKERS, described=described)


def whole_file(entry: dict) -> bool:
    return {"params.yaml": None} in entry.get("params", [])


def declared_code(stage: str) -> set[str]:
    """The files and folders of code among a stage's deps."""
    return {dep for dep in DAG[stage]["deps"] if dep.startswith(("stages", "tunelock"))}


@pytest.mark.parametrize("stage", DAG)
def test_each_import_of_a_stage_lies_in_a_declared_folder(stage):
    declared = [ROOT / dep for dep in declared_code(stage)]
    files = reached_by(stage)
    outside = [file for file in files if not any(file.is_relative_to(dep) for dep in declared)]
    assert [path.relative_to(ROOT).as_posix() for path in outside] == []


@pytest.mark.parametrize("stage", DAG)
def test_no_folder_is_declared_in_vain(stage):
    if "stages" in DAG[stage]["deps"]:  # package hashes all of the code
        return
    files = reached_by(stage)
    used = {dep for dep in declared_code(stage) if any(file.is_relative_to(ROOT / dep) for file in files)}
    assert declared_code(stage) == used
    assert DAG[stage]["deps"] == sorted(DAG[stage]["deps"])


def test_no_stage_depends_on_an_onlooker():
    assert not [dep for stage in DAG for dep in declared_code(stage) if dep.split("/")[1:2] == list(ONLOOKERS)]


@pytest.mark.parametrize("stage", DAG)
def test_params_are_the_keys_read(stage):
    if whole_file(DAG[stage]):
        assert "load_yaml" in source_of(MODULES[stage]).read_text()
    else:
        assert keys_declared(DAG[stage]) == keys_read(MODULES[stage])


def test_no_key_is_dead_and_none_is_without_schema():
    used = set().union(*(keys_declared(entry) for entry in DAG.values()))
    in_file = set(load_yaml(ROOT / "params.yaml"))
    assert in_file == used | FOR_COMMANDS.keys() == set(Schema.model_fields)
    assert all(f'"{key}"' in (ROOT / file).read_text() for key, file in FOR_COMMANDS.items())


def test_every_stage_says_what_it_does():
    assert all(entry["desc"] for entry in DAG.values())


def test_the_folder_of_the_stages_shows_the_dag():
    modules = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert modules == {name.removeprefix("stages.") for name in MODULES.values()}
    assert [ast.unparse(node) for node in has_code(ROOT / "stages/__init__.py")] == ["import tunelock.run"]


def test_stages_import_the_library_and_the_library_no_stage():
    for file in all_files():
        names = {name for name in imported_modules(ast.parse(file.read_text())) if name.split(".")[0] == "stages"}
        assert not names, f"{file} imports {names}"


def test_nothing_imports_a_command():
    for file in all_files():
        if room_of(file) != "commands" and file.name != "__main__.py":
            assert "commands" not in {room_of(other) for other in imports_of(file)}, file


def test_no_file_imports_itself_through_others():
    graph = {file: imports_of(file) for file in all_files()}
    assert len(graph) > 120  # every file in every room, not those of one folder
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_each_room_keeps_to_its_floor():
    found = {room: others for room, others in arrows().items() if room not in ("commands", "tunelock")}
    assert {room: sorted(others) for room, others in found.items()} == {
        room: sorted(others) for room, others in FLOORS.items() if others
    }
    TopologicalSorter(FLOORS).prepare()


def test_few_arrows_run_between_the_rooms():
    assert sum(map(len, arrows().values())) <= MOST_ARROWS


def test_every_room_says_what_it_is():
    rooms = {path.parent for path in (ROOT / "tunelock").rglob("*.py")}
    unsigned = [room for room in rooms if room.name != "tasks" and not ast.get_docstring(parse_sign(room))]
    assert unsigned == []
    signs = [room / "__init__.py" for room in rooms if room.name not in ("run", "tasks")]
    assert [sign for sign in signs if has_code(sign)] == []  # only `run` does something when it is imported


def parse_sign(room: Path) -> ast.Module:
    return ast.parse((room / "__init__.py").read_text())


def test_torch_stays_out_of_the_data_stages():
    """Set-up cost: ingest, clean, split and validate import neither torch nor transformers."""
    for stage in DATA_STAGES:
        for file in reached_by(stage):
            described = room_of(file) in DESCRIBED
            names = imported_at_the_top(file) if described else imported_modules(ast.parse(file.read_text()))
            roots = {name.split(".")[0] for name in names}
            assert not {"torch", "transformers", "datasets"} & roots, file
