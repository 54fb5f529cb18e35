"""What this workspace has and a host would not: changed or ignored data, and paths outside of the repository."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelock.remote.run_forecast import RunForecast, lies_in, name_path, name_stage
from tunelock.remote.secret_names import is_named_by
from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.run.revisions import run_git

if TYPE_CHECKING:
    from dvc.dependency import Dependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

_PARAMS = "params.yaml"


def refuse_unmakeable(home: "Repo", lacking: Sequence["Output"]) -> None:
    """Stop at outs that are needed, that the cache lacks, and that no command makes."""
    found = []
    for out in lacking:
        path, owner = name_path(out), name_stage(out.stage)
        if out.stage.frozen and out.stage.cmd:
            cure = f"`dvc pull {path}` fetches it, or `dvc unfreeze {owner}` lets the stage run"
            found.append(f"{path} is not in this cache, and {owner}, which makes it, is frozen; {cure}.")
        elif not out.stage.cmd:
            here = (Path(home.root_dir) / path).exists()
            cure = f"`dvc commit {owner}` stores it" if here else f"`dvc pull {owner}` fetches it"
            found.append(f"{path} is not in this cache; {cure}.")
    _stop_at(found)


def refuse_missing_there(home: "Repo", forecast: RunForecast, allowed: Sequence[str]) -> None:
    """Stop where the stages would read something else on a host than here, or nothing.

    Paths that match a glob of `allowed` are not looked at.
    """
    found = dict(
        [*_find_changed_data(home, forecast), *_find_lacking(home, forecast), *_find_hidden(home, forecast),
         *_find_params(home, forecast)]
    )  # fmt: skip
    _stop_at([sentence for path, sentence in sorted(found.items()) if not is_named_by(path, allowed)])


def _stop_at(sentences: list[str]) -> None:
    if sentences:
        lines = "\n".join(f"  {sentence}" for sentence in sentences)
        raise Stop(f"nothing was sent, for the host would not have what this workspace has:\n{lines}")


def _find_changed_data(home: "Repo", forecast: RunForecast) -> Iterator[tuple[str, str]]:
    """Data that differs from its .dvc file: the host would get what that file names."""
    read = {name_path(edge.out) for edge in forecast.edges}
    for stage in home.index.stages:
        for out in stage.outs if not stage.cmd else ():
            path = name_path(out)
            if path in read and out.exists and out.changed_checksum():
                yield path, f"{path} differs from {name_stage(stage)}; take the change over with `dvc add {path}`."


def _find_lacking(home: "Repo", forecast: RunForecast) -> Iterator[tuple[str, str]]:
    """What a stage reads that neither git nor DVC has, if the stage may run there or would run here."""
    made = {edge.dep for edge in forecast.edges}
    for stage, dep in forecast.list_reads():
        if stage.frozen or dep in made or (dep.is_in_repo and dep.exists):
            continue
        if forecast.runs(stage) or _has_changed_here(home, stage, dep):
            path = name_path(dep) if dep.is_in_repo else str(dep.fs_path)
            yield path, f"{path}, which {name_stage(stage)} reads, {_explain_lack(home, dep)}."


def _explain_lack(home: "Repo", dep: "Dependency") -> str:
    if not dep.is_in_repo:
        return "lies outside of the repository; copy it into it"
    path = name_path(dep)
    why = "is ignored by git" if Path(home.root_dir, path).exists() else "is missing here, too"
    return f"{why}; put it under DVC with `dvc add {path}`"


def _has_changed_here(home: "Repo", stage: "Stage", dep: "Dependency") -> bool:
    """Whether what the stage reads is in this workspace and is not as dvc.lock has it."""
    for own in home.index.stages:
        for here in own.deps if name_stage(own) == name_stage(stage) else ():
            if here.def_path == dep.def_path and here.exists and here.changed_checksum():
                return True
    return False


def _find_hidden(home: "Repo", forecast: RunForecast) -> Iterator[tuple[str, str]]:
    """Files that git ignores in folders that stages read: the folder's hash would be another one there."""
    within = {edge.dep for edge in forecast.edges if not edge.reads_folder_around}
    paths = {name_path(dep) for _, dep in forecast.list_reads() if dep.is_in_repo and dep not in within}
    folders = sorted(path for path in paths if Path(home.root_dir, path).is_dir())
    if not folders:
        return
    words = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *folders)
    for path in filter(None, run_git("-C", home.root_dir, *words).split("\0")):
        if not _is_out(forecast, path) and not _is_dvcignored(home, path):
            cure = f"`dvc add {path}`, or name it in .dvcignore"
            yield path, f"{path} stands in a folder that a stage reads, and git ignores it; {cure}."


def _is_out(forecast: RunForecast, path: str) -> bool:
    """Whether a path from the root is, or lies in, what DVC makes or holds."""
    return any(lies_in(path, name_path(out)) for out in forecast.repo.index.outs)


def _is_dvcignored(home: "Repo", path: str) -> bool:
    root, file = Path(home.root_dir), Path(home.root_dir, path)
    above = [folder for folder in file.parents if folder != root and folder.is_relative_to(root)]
    if any(home.dvcignore.is_ignored_dir(str(folder)) for folder in above):
        return True
    ignored: bool = home.dvcignore.is_ignored_file(str(file))
    return ignored


def _find_params(home: "Repo", forecast: RunForecast) -> Iterator[tuple[str, str]]:
    """Values of params.yaml that are paths of this machine."""
    root, clone = Path(home.root_dir), Path(forecast.repo.root_dir)
    values = load_yaml(clone / _PARAMS) if (clone / _PARAMS).is_file() else {}
    for key, value in _list_texts(values):
        path = _find_place(root, value)
        if path is None or not path.exists():
            continue
        if not path.is_relative_to(root):
            yield value, f"{_PARAMS}: {key} is {value}, outside of the repository; copy it into it and `dvc add` it."
            continue
        name = path.relative_to(root).as_posix()
        if not (clone / name).exists() and not _is_out(forecast, name):
            yield name, f"{_PARAMS}: {key} is {value}, which git ignores; put it under DVC with `dvc add {name}`."


def _list_texts(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Each text in nested values, by its dotted key."""
    if isinstance(values, str):
        yield key, values
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for name, value in inner:
        yield from _list_texts(value, f"{key}.{name}" if key else str(name))


def _find_place(root: Path, value: str) -> Path | None:
    """The file or folder that a text may name, up to the first wildcard; None if it looks like no path."""
    if "/" not in value or "://" in value or "\n" in value or len(value) > 1000:
        return None
    parts = []
    for part in Path(value).expanduser().parts:
        if set(part) & set("*?["):
            break
        parts.append(part)
    place = (root / Path(*parts)).resolve()
    return None if place in (root, *root.parents) else place
