"""dvc.yaml says what the code does: deps are the imports, params are the keys that are read."""

import ast
import importlib
from pathlib import Path

import pytest

from stages.lib.params import load_yaml
from stages.lib.schema import Schema

ROOT = Path(__file__).parent.parent
DAG = load_yaml(ROOT / "dvc.yaml")["stages"]
FOR_COMMANDS = {"gate": "stages/pull_request.py"}  # keys that no stage reads: no result depends on them
MODULES = {name: entry["cmd"].split()[2] for name, entry in DAG.items()}


def source_of(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file if file.exists() else None


def imported_files(file: Path, seen: set[Path] | None = None) -> set[Path]:
    """The project's own files that a file imports, directly or not, itself included."""
    seen = set() if seen is None else seen
    seen.add(file)
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                found = source_of(".".join(parts[:depth])) if parts[0] == "stages" else None
                if found and found not in seen:
                    imported_files(found, seen)
    return seen


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


def whole_file(entry: dict) -> bool:
    return {"params.yaml": None} in entry.get("params", [])


@pytest.mark.parametrize("stage", DAG)
def test_deps_are_the_imports(stage):
    deps = DAG[stage]["deps"]
    expected = {path.relative_to(ROOT).as_posix() for path in imported_files(source_of(MODULES[stage]))}
    if "stages" in deps:  # package hashes all of the code
        return
    assert {dep for dep in deps if dep.endswith(".py")} == expected | {"stages/__init__.py"}
    assert deps == sorted(deps)


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


def test_stages_import_no_stage_and_lib_no_stage():
    for file in (ROOT / "stages").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages"):
                assert node.module.startswith("stages.lib."), f"{file}:{node.lineno} imports {node.module}"


def test_lib_has_no_circles():
    def visit(file: Path, trail: tuple[Path, ...]):
        assert file not in trail, f"{file} imports itself through {trail}"
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages.lib."):
                visit(source_of(node.module), (*trail, file))

    for file in (ROOT / "stages" / "lib").glob("*.py"):
        visit(file, ())


def test_torch_stays_out_of_the_data_stages():
    """Set-up cost: ingest, clean, split and validate import neither torch nor transformers."""
    for stage in ("validate", "ingest", "clean", "split"):
        for file in imported_files(source_of(MODULES[stage])):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom | ast.Import):
                    names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                    assert not {"torch", "transformers", "datasets"} & {name.split(".")[0] for name in names}, file
