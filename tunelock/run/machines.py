"""On what machine each stage ran: metrics/machines.json, a plain file of git.

It is no stage's out, so `dvc.lock` and the bits know nothing of it, and no metric of `dvc.yaml`, whose tables are for
figures: `dvc exp show` would have a column for each fact. A stage that DVC restores from its cache does not run, and
keeps the facts that stood there; `sum_up_inputs` of what it ran on is noted too, so that a reader sees whether they are
those of the result.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tunelock.run.files import read_json, write_json
from tunelock.run.hardware import describe_machine
from tunelock.run.hashing import sha256_value
from tunelock.run.params import read_declared_params

MACHINES = Path("metrics/machines.json")
PIN_FILES = ("locks/cuda.txt", "pyproject.toml")  # locks/cpu.txt has the same versions
_CODE = ("stages", "tunelock")
_KERNEL_CHOICE = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS")


def record_machine(name: str, entry: dict[str, Any]) -> None:
    """Note where the stage `name`, with this entry of dvc.yaml, ran just now; the notes of other stages stay."""
    machine: dict[str, Any] = dict(describe_machine())
    texts = [Path(file).read_text(encoding="utf-8") if Path(file).exists() else "" for file in PIN_FILES]
    if other := _list_other_versions(read_pins(*texts)):
        machine["other_versions"] = other
    digest = sha256_value(machine)[:8]
    found = read_json(MACHINES) if MACHINES.exists() else {}
    stages = found.get("stages", {}) | {
        name: {"machine": digest, "inputs": sum_up_inputs(entry), **_describe_process()}
    }
    machines = found.get("machines", {}) | {digest: machine}
    used = {stage["machine"] for stage in stages.values()}
    write_json(MACHINES, {"machines": {key: machines[key] for key in used & machines.keys()}, "stages": stages})


def describe_places(found: Mapping[str, Any]) -> dict[str, str]:
    """Where each stage ran, in words, from the content of metrics/machines.json."""
    places = {}
    for name, stage in found.get("stages", {}).items():
        facts = found["machines"].get(stage["machine"], {}) | stage
        parts = [facts.get("name"), facts.get("device"), facts.get("cpu"), facts.get("instruction_set")]
        threads = [f"{facts['threads']} thread{'s' * (facts['threads'] != 1)}"] if "threads" in facts else []
        places[name] = ", ".join([str(part) for part in parts if part] + threads)
    return places


def _describe_process() -> dict[str, Any]:
    """What only this process knows: torch's threads, instruction set and GPU, and the variables that choose kernels."""
    chosen: dict[str, Any] = {name.lower(): os.environ[name] for name in _KERNEL_CHOICE if name in os.environ}
    torch = sys.modules.get("torch")
    if torch is None:
        return chosen
    chosen |= {"threads": torch.get_num_threads(), "instruction_set": torch.backends.cpu.get_cpu_capability()}
    if torch.cuda.is_available():
        chosen |= {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        chosen["cudnn"] = torch.backends.cudnn.version()
    return chosen


def read_pins(lock: str, project: str) -> dict[str, str]:
    """The version of each package that a lock file and pyproject.toml, given as texts, ask for."""
    listed = re.findall(r"^[\w.-]+==[^\s;#]+", lock, re.MULTILINE)
    if project:
        listed += tomllib.loads(project).get("project", {}).get("dependencies", [])
    pins = {}
    for line in listed:
        name, _, version = line.partition("==")
        if version:
            pins[_normalise_name(name)] = version.strip()
    return pins


def _normalise_name(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _list_other_versions(pins: Mapping[str, str]) -> dict[str, str]:
    """The installed packages whose version is not the pinned one, of which a build (`2.13.0+cpu`) is no other."""
    other = {}
    for name, version in sorted(_read_installed_versions().items()):
        if name in pins and pins[name] not in (version, version.partition("+")[0]):
            other[name] = version
    return other


def _read_installed_versions() -> dict[str, str]:
    """From the names of the folders that pip leaves: to read what is in them takes a third of a second."""
    found: dict[str, str] = {}
    for place in map(Path, sys.path):
        for folder in place.glob("*.dist-info"):
            name, _, version = folder.stem.partition("-")
            found.setdefault(_normalise_name(name), version)
    return found


def sum_up_inputs(entry: dict[str, Any]) -> str:
    """A digest of the params that an entry of dvc.yaml declares and of how many bytes its data has; code apart."""
    sizes = {}
    for dep in _pick_data(entry.get("deps", [])):
        path = Path(dep)
        files = path.rglob("*") if path.is_dir() else [path]
        sizes[dep] = sum(file.stat().st_size for file in files if file.is_file())
    return sha256_value([read_declared_params(entry), sizes])[:16]


def sum_up_locked_inputs(entry: Mapping[str, Any]) -> str:
    """What `sum_up_inputs` gives, from the stage's entry in dvc.lock."""
    params: dict[str, Any] = {}
    for file, values in entry.get("params", {}).items():
        params |= {key if file == "params.yaml" else f"{file}:{key}": value for key, value in values.items()}
    by_path = {dep["path"]: dep["size"] for dep in entry.get("deps", [])}
    return sha256_value([params, {path: by_path[path] for path in _pick_data(by_path)}])[:16]


def _pick_data(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path.split("/")[0] not in _CODE]
