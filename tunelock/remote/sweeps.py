"""Sweeps: `-S lora_r=8,16` becomes a task for each value, as `dvc exp run --queue` does it, and what they share."""

import shutil
import tempfile
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelock.run.errors import Stop
from tunelock.run.params import load_yaml
from tunelock.run.spelling import suggest_name

if TYPE_CHECKING:
    from dvc.stage import Stage

_PARAMS = "params.yaml"


def expand_overrides(overrides: list[str]) -> list[list[str]]:
    """The overrides of each task: one list a combination of swept values, one list alone where nothing is swept.

    An override is what stands after `-S`: `lora_r=8,16`, `seed=range(0,3)`, `other.yaml:key=1`. Values are written back
    as DVC writes them (`1e-5` as `1e-05`). The folder is the repository's root.

    Raises:
        Stop: DVC would refuse one of them, such as for a key that the file does not have.
    """
    if not overrides:
        return [[]]
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import get_hydra_sweeps
    from hydra.errors import HydraException

    swept, by_file = list_swept_keys(overrides), to_path_overrides(overrides)
    try:
        tasks = get_hydra_sweeps(by_file) if swept else [by_file]
    except (InvalidArgumentError, HydraException) as error:
        raise Stop(
            f"-S {' '.join(overrides)}: {_shorten_error(error)}; write the values of a sweep as KEY=1,2 or "
            "KEY=range(0,3)."
        ) from None
    _try_on_copies(tasks[0])
    return [_join_files(task) for task in tasks] if swept else [list(overrides)]


def list_swept_keys(overrides: Iterable[str]) -> set[str]:
    """The keys that have several values, `FILE:KEY` for another file than params.yaml; `Stop` if one is no override."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import to_hydra_overrides
    from hydra.errors import OverrideParseException

    keys = set()
    for override in overrides:
        ((file, parts),) = to_path_overrides([override]).items()
        try:
            (parsed,) = to_hydra_overrides(parts)
        except OverrideParseException as error:
            reason = str(error).splitlines()[1:2] or [_shorten_error(error)]
            raise Stop(f"-S {override}: is no override ({reason[0]}); write KEY=VALUE.") from None
        if parsed.is_sweep_override():
            keys.add(parsed.key_or_group if file == _PARAMS else f"{file}:{parsed.key_or_group}")
    return keys


def name_tasks(name: str, tasks: int) -> list[str]:
    """The name of each task's experiment: NAME-1, NAME-2, … as DVC names a sweep's; the name itself for one task."""
    return [name] if tasks == 1 else [f"{name}-{number}" for number in range(1, tasks + 1)]


def find_common_stages(keys: set[str]) -> list[str]:
    """The stages of dvc.yaml, in run order, whose results are the same whatever values the keys have.

    Those are the stages that neither declare one of the keys as a param nor depend on a stage that does. A stage whose
    param is a whole file, as `validate` has it, checks that file: what it writes does not follow the values, so it is
    no common stage and those after it may be. Were that wrong, DVC would run them again in each task.
    """
    import networkx
    from dvc.repo import Repo

    with Repo() as repo:
        graph = repo.index.graph  # from a stage to those that it needs
        written = list(repo.index.stages)  # in the order of dvc.yaml
        stages = list(networkx.lexicographical_topological_sort(graph.reverse(copy=False), key=written.index))
        touched = {stage for stage in stages if _declares_one(stage, keys, whole_files=True)}
        for stage in stages:
            if _declares_one(stage, keys, whole_files=False):
                touched |= networkx.ancestors(graph, stage)
    return [stage.addressing for stage in stages if stage.cmd and stage not in touched]


def _declares_one(stage: "Stage", keys: set[str], whole_files: bool) -> bool:
    """Whether one of the keys, or what holds it or stands in it, is a param of a stage or stands in its template."""
    for dep in stage.params:
        file = dep.fs_path if dep.def_path is None else dep.def_path
        if not dep.params and whole_files and any(_split_file(key)[0] == file for key in keys):
            return True
        if _any_overlap(dep.params, file, keys):
            return True
    templated = getattr(stage, "tracked_vars", {})  # by file: what `${…}` in its entry was replaced by
    return any(_any_overlap(found, file, keys) for file, found in templated.items())


def _any_overlap(params: Iterable[str], file: str, keys: set[str]) -> bool:
    return any(_overlap(param, file, key) for param, key in product(params, keys))


def _overlap(param: str, file: str, key: str) -> bool:
    """Whether a param of a file and a swept key are the same, or one holds the other (`pii` and `pii.email`)."""
    key_file, name = _split_file(key)
    return file == key_file and (f"{name}.".startswith(f"{param}.") or f"{param}.".startswith(f"{name}."))


def _split_file(key: str) -> tuple[str, str]:
    file, colon, name = key.rpartition(":")
    return (file, name) if colon else (_PARAMS, name)


def _try_on_copies(by_file: dict[str, list[str]]) -> None:
    """Have DVC write the overrides into copies of the files; `Stop` if it refuses."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides
    from omegaconf.errors import OmegaConfBaseException

    with tempfile.TemporaryDirectory() as folder:
        for file, overrides in by_file.items():
            if not Path(file).is_file():
                raise Stop(f"-S {file}:{overrides[0]}: there is no {file} here; name a file of params.")
            copy = Path(folder) / Path(file).name
            shutil.copy(file, copy)
            try:
                apply_overrides(copy, overrides)
            except (DvcException, OmegaConfBaseException) as error:
                raise Stop(_explain_refusal(file, overrides, error)) from None


def _explain_refusal(file: str, overrides: list[str], error: Exception) -> str:
    """Which override DVC refused, and a key that may have been meant."""
    reason = _shorten_error(error.__cause__ or error)
    for override in overrides:
        key = override.partition("=")[0]
        if f"'{key}'" in reason and file.endswith((".yaml", ".yml")):
            return f"-S {override}: {file} has no key '{key}'{suggest_name(key, _list_keys_of(load_yaml(file)))}"
    return f"-S {' '.join(overrides)}: DVC refuses it ({reason}); mend the value."


def _list_keys_of(values: dict[str, Any], above: str = "") -> list[str]:
    """The keys of nested mappings, each as one writes it after `-S`."""
    keys = []
    for key, value in values.items():
        keys.append(f"{above}{key}")
        keys += _list_keys_of(value, f"{above}{key}.") if isinstance(value, dict) else []
    return keys


def _shorten_error(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")


def _join_files(task: dict[str, list[str]]) -> list[str]:
    """The overrides of a task as they stand after `-S`."""
    joined = []
    for file, overrides in task.items():
        joined += overrides if file == _PARAMS else [f"{file}:{override}" for override in overrides]
    return joined
