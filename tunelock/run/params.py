"""What a stage may know of `params.yaml`: the keys that `dvc.yaml` declares for it, and no other."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tunelock.run.errors import Stop


class Params:
    """The declared params of one stage, read as attributes: `params.lora_r`.

    Reading a key that the stage does not declare raises `AttributeError`, because DVC would not
    re-run the stage when that key changes.
    """

    def __init__(self, stage: str, values: dict[str, Any]):
        self._stage, self._values = stage, values

    def __getattr__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        raise AttributeError(f"stage '{self._stage}' reads '{key}' but dvc.yaml does not list it under its params")

    def select(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """Several declared params at once, as keyword arguments."""
        return {key: getattr(self, key) for key in keys}


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Parse a YAML 1.2 file as DVC does (`2e-4` is a float).

    Raises:
        Stop: the file is missing, is not YAML, is no mapping, or has a key twice.
    """
    try:
        values = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Stop(f"{path} is missing; restore it with `git checkout {path}`.") from None
    except DuplicateKeyError as error:
        line, key = error.problem_mark.line + 1, str(error.problem).split('"')[1]
        raise Stop(f"{path}:{line}: '{key}' is set twice; keep one of the two lines.") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Stop(f"{path}:{line}: not YAML ({error.problem}); mend that line.") from None
    except (UnicodeDecodeError, YAMLError) as error:
        raise Stop(f"{path}: not YAML in UTF-8 ({str(error).splitlines()[0]}); mend it.") from None
    if not isinstance(values, dict):
        raise Stop(f"{path}: expected `key: value` lines, found {type(values).__name__}.")
    return values


def read_stage_entry(stage: str) -> dict[str, Any]:
    """The entry of `stage` in `dvc.yaml`."""
    try:
        entry: dict[str, Any] = load_yaml("dvc.yaml")["stages"][stage]
    except KeyError:
        raise Stop(f"dvc.yaml has no stage '{stage}'; run from the repository's root.") from None
    return entry


def read_declared_params(entry: dict[str, Any]) -> dict[str, Any]:
    """The values of the params that a `dvc.yaml` entry declares, `file:key` for other files than params.yaml."""
    values: dict[str, Any] = {}
    read_once = cache(_read_params_file)
    for item in entry.get("params", []):
        for file, keys in item.items() if isinstance(item, dict) else [("params.yaml", [item])]:
            content = read_once(file)
            for key in content if keys is None else keys:
                value = content[key] if keys is None else _look_up(content, key, file)
                values[key if file == "params.yaml" else f"{file}:{key}"] = value
    return values


def _read_params_file(file: str) -> dict[str, Any]:
    return tomllib.loads(Path(file).read_text(encoding="utf-8")) if file.endswith(".toml") else load_yaml(file)


def _look_up(content: dict[str, Any], dotted: str, file: str) -> Any:
    """Follow `a.b.c` into nested mappings."""
    for part in dotted.split("."):
        if not isinstance(content, dict) or part not in content:
            raise Stop(f"{file} lacks '{dotted}', which dvc.yaml declares; add it back.")
        content = content[part]
    return content
