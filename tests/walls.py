"""Which file imports which, and in which room it stands: read from the code, nothing is run."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
WINGS = ("stages", "tunelock")
# Rooms that others import for their names and rules; what their functions import is for those who build a model.
DESCRIBED = ("model/methods", "training/penalties")


def source_of(module: str) -> Path | None:
    """The file of a module of ours, or None."""
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file if file.exists() else None


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """The names after `import` and `from`; of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_at_the_top(file: Path) -> set[str]:
    """The names that a file imports as soon as it is imported."""
    statements = [node for node in has_code(file) if isinstance(node, ast.Import | ast.ImportFrom)]
    return set(imported_modules(ast.Module(statements, [])))


def imports_of(file: Path, at_the_top: bool = False) -> set[Path]:
    """The files of ours that a file imports by itself; `__init__.py` only where it is imported by name."""
    names = imported_at_the_top(file) if at_the_top else imported_modules(ast.parse(file.read_text()))
    found = {source_of(name) for name in names if name.startswith(WINGS)}
    return {path for path in found if path and path != file and (path.name != "__init__.py" or len(has_code(path)) > 0)}


def has_code(file: Path) -> list[ast.stmt]:
    """The statements of a file, its docstring apart."""
    return [node for node in ast.parse(file.read_text()).body if not is_text(node)]


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def room_of(file: Path) -> str:
    """`run`, `model/methods`, …; of a stage `stages/NAME`."""
    wing, *rest = file.relative_to(ROOT).parts
    return f"stages/{file.stem}" if wing == "stages" else "/".join(rest[:-1]) or "tunelock"


def all_files() -> list[Path]:
    """Every Python file of both wings."""
    return sorted(path for wing in WINGS for path in (ROOT / wing).rglob("*.py"))


def arrows() -> dict[str, set[str]]:
    """Which rooms each room of the library imports from."""
    found = defaultdict(set)
    for file in all_files():
        for other in imports_of(file):
            if room_of(other) != room_of(file) and file.parts[-2] != "stages":
                found[room_of(file)].add(room_of(other))
    return dict(found)


def reached(file: Path, but_not: tuple[str, ...] = (), described: tuple[str, ...] = ()) -> set[Path]:
    """The files that a file imports, directly or not, itself included.

    Files in the rooms `but_not` are no way on; those in the rooms `described` are for what they import at the top.
    """
    seen, waiting = set(), [file]
    while waiting:
        here = waiting.pop()
        if here in seen or room_of(here) in but_not:
            continue
        seen.add(here)
        waiting += imports_of(here, at_the_top=room_of(here) in described)
    return seen
