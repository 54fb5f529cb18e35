"""How the house reads, in figures: names that one search finds, doors that show, no nesting, few lines in dvc.yaml."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.walls import ROOT, all_files

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in all_files()}
DVC_YAML = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
MOST_NESTED = 0.5  # comprehensions in another one or with two `for`s, per 1,000 lines
MOST_LINES = 50  # of a function
MOST_NAMES_TWICE = 12


def all_nodes() -> Iterator[tuple[Path, ast.AST]]:
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            yield file, node


def place(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(ROOT)}:{node.lineno} {getattr(node, 'name', '')}"


def is_nested(node: ast.AST) -> bool:
    """Whether a comprehension has another one in it or two `for`s."""
    inner = [other for other in ast.walk(node) if isinstance(other, COMPREHENSIONS) and other is not node]
    return bool(inner) or len(node.generators) > 1


def definitions() -> dict[str, set[Path]]:
    """The files that define each function or class at their top level."""
    files = defaultdict(set)
    for file, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and node.name != "main":
                files[node.name].add(file)
    return files


def uses() -> dict[str, set[Path]]:
    """The files that import each name or reach it through a dot."""
    files = defaultdict(set)
    for file, node in all_nodes():
        if isinstance(node, ast.Attribute):
            files[node.attr].add(file)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                files[alias.name].add(file)
    return files


def named_elsewhere() -> str:
    """The text of the tests and benchmarks, and of the harness's task files, which name functions of their module."""
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    files += (ROOT / "tunelock/harness/tasks").glob("*.yaml")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_comprehensions_stand_alone():
    nested = [place(file, node) for file, node in all_nodes() if isinstance(node, COMPREHENSIONS) and is_nested(node)]
    lines = sum(file.read_text(encoding="utf-8").count("\n") for file in TREES)
    assert 1000 * len(nested) / lines < MOST_NESTED, nested


def test_functions_are_short():
    long = [
        place(file, node)
        for file, node in all_nodes()
        if isinstance(node, FUNCTIONS) and node.end_lineno - node.lineno >= MOST_LINES
    ]
    assert long == []


def test_one_search_finds_a_name():
    twice = {name: sorted(map(str, files)) for name, files in definitions().items() if len(files) > 1}
    assert len(twice) <= MOST_NAMES_TWICE, twice


def test_no_module_name_stands_twice():
    stems = Counter(file.stem for file in TREES if file.stem != "__init__")
    assert [stem for stem, count in stems.items() if count > 1] == []


def test_what_a_module_keeps_for_itself_has_an_underscore():
    used, tested = uses(), set(re.findall(r"\w+", named_elsewhere()))
    kept = []
    for name, files in definitions().items():
        elsewhere = len(files) > 1 or used[name] - files or name in tested
        if not elsewhere and not name.startswith("_"):
            kept += [f"{file.relative_to(ROOT)}: {name}" for file in files]
    assert kept == []


def test_no_module_reaches_for_what_another_keeps_for_itself():
    reached = []
    for file, node in all_nodes():
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("stages", "tunelock")):
            reached += [f"{place(file, node)}{alias.name}" for alias in node.names if alias.name.startswith("_")]
    assert reached == []


def test_dvc_yaml_is_short():
    assert DVC_YAML.count("\n") < 520
    assert len(re.findall(r"^\s+- (?:stages|tunelock)\S*$", DVC_YAML, re.MULTILINE)) < 80


def test_comments_of_params_yaml_are_short():
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "#" in line and len(line) > 100] == []
