"""`tunelock start`, step by step: sources are looked at, what cannot be known is asked, and all is written at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelock.previewing.start_files import FileSet, find_file_sets
from tunelock.previewing.start_limits import Choices
from tunelock.previewing.start_look import SourceLook, look_at_files
from tunelock.previewing.start_places import Copy, bring_in, name_source, plan_copy, replace_place, say_how_kept
from tunelock.previewing.start_roles import Doubt

Decide = Callable[[str, Doubt], str]  # the name of a source and what is in doubt about it; gives a column


@dataclass(slots=True)
class Start:
    """What was found: the sources, and the files that must come into data/raw."""

    looks: list[SourceLook] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)


def look_at_paths(paths: list[Path], decide: Decide) -> Start:
    """Look at every file of these paths, and have the doubts about its columns decided."""
    start = Start()
    sets: list[tuple[Path, FileSet, Copy | None]] = []
    for path in paths:
        copy = plan_copy(path)
        start.copies += [copy] if copy else []
        sets += [(path, one, copy) for one in find_file_sets(path)]
    for path, files, copy in sets:
        name = name_source(files.path, set(start.sources))
        look = _look_at_set(name, files, decide)
        if len(sets) > 1 and "task" not in look.guess.entry:
            look.guess.entry["task"] = name
            look.guess.reasons.append(f"{name} is its task, so that its figures stand apart")
            for record in look.records:
                record["task"] = name
        start.looks.append(look)
        start.sources[name] = {"path": replace_place(files.path, copy, path), **look.guess.entry}
    return start


def _look_at_set(name: str, files: FileSet, decide: Decide) -> SourceLook:
    """Look at a source; where a column was in doubt, look again with what was decided."""
    table = files.profile()
    chosen: dict[str, str] = {}
    look = look_at_files(name, files, table, chosen)
    for doubt in look.guess.doubts:
        chosen[doubt.role] = decide(name, doubt)
    changed = any(chosen[doubt.role] != doubt.guess for doubt in look.guess.doubts)
    return look_at_files(name, files, table, chosen) if changed else look


def describe_sources(start: Start) -> list[str]:
    """A paragraph a source: what is in it and what was guessed why."""
    lines = []
    for look in start.looks:
        copies = f", {look.table.copies:,} of them exact copies" if look.table.copies else ""
        count = "" if len(look.files.files) == 1 else f" in {len(look.files.files)} files"
        lines.append(f"{look.name}: {start.sources[look.name]['path']}, {look.rows:,} rows{count}{copies}")
        lines += [f"  {reason}" for reason in look.guess.reasons]
        if look.files.passed_over:
            lines.append(f"  {', '.join(look.files.passed_over)}: about the data, not read")
    return lines


def describe_choices(choices: Choices) -> list[str]:
    """The params with their reasons, then the warnings."""
    warnings = [f"warning: {warning}" for warning in choices.warnings]
    return ["params:", *(f"  {reason}" for reason in choices.reasons), *warnings]


def list_next_steps(start: Start) -> list[str]:
    """The commands that come next."""
    steps = []
    for look in start.looks:
        path = start.sources[look.name]["path"]
        steps.append(say_how_kept(path, sum(file.size for file in look.files.files)))
    return [*dict.fromkeys(filter(None, steps)), "dvc repro"]


def bring_files_in(start: Start) -> None:
    """Copy what lies elsewhere into data/raw."""
    for copy in start.copies:
        bring_in(copy)
