"""Writes the lock files of this folder: each package of an environment with the hashes of all files of its version.

    python locks/make_locks.py

`make lock` calls it in a venv of its own. pip-tools asks pip's resolver, which reads of large files only what they
require (`fast-deps`), so that CUDA's gigabytes are not downloaded. What is locked keeps its version for as long as
pyproject.toml allows it, and its hashes: the same pins give the same bytes.

torch has two builds on Linux. That for CUDA lies on the index, that for the CPU ("+cpu") where pip is told to look
(`find-links`, or https://download.pytorch.org/whl/cpu as an extra index); elsewhere the index has the only one.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent / "pyproject.toml"
PIP_COMPILE = [
    sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras",
    "--no-header", "--no-emit-options", "--pip-args=--use-feature=fast-deps",
]  # fmt: skip
# The index alone, as everybody has it: no folder or further index of this machine offers torch's CPU build.
INDEX_ALONE = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
LINUX, OTHERS = 'sys_platform == "linux"', 'sys_platform != "linux"'
ALONE = ("skypilot", "transformers4")  # groups of which only what they name is installed
HEADER = """\
# {about}
# Written by `make lock` (locks/make_locks.py: pip-tools and pip, CPython 3.11, Linux x86_64). Not to be edited.
# pip install --no-deps --require-hashes -r locks/{name}.txt takes these packages, and no file with another sha256.
"""


class Locked(NamedTuple):
    """A package of a lock file: its name, its version and its lines."""

    name: str
    version: str
    text: str


def read_locked(text: str) -> list[Locked]:
    """The packages in the text of a lock file."""
    blocks = re.findall(r"^([\w.-]+)==([^\s;]+)(.*\n(?:[ \t].*\n)*)", text, re.MULTILINE)
    return [Locked(name, version, f"{name}=={version}{rest}") for name, version, rest in blocks]


def join_locked(packages: list[Locked]) -> str:
    """The lines of packages, by name."""
    return "".join(locked.text for locked in sorted(packages, key=lambda locked: locked.name))


def _compile(pins: list[str], seed: list[Locked], env: dict[str, str] | None = None) -> list[Locked]:
    """Resolve pins and what they need; packages of `seed` stay where nothing contradicts them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pins.in").write_text("\n".join(pins), encoding="utf-8")
        lock = Path(folder, "lock.txt")
        lock.write_text(join_locked(seed), encoding="utf-8")
        command = [*PIP_COMPILE, f"--output-file={lock.name}", "pins.in"]
        env = os.environ | (env or {})
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{done.stderr}\nmake lock: pip-tools found no set of packages; the lines above say why.")
        return read_locked(lock.read_text(encoding="utf-8").replace("-r pins.in", "pyproject.toml"))


def _read_lock(name: str) -> list[Locked]:
    path = FOLDER / f"{name}.txt"
    return read_locked(path.read_text(encoding="utf-8")) if path.exists() else []


def _write_lock(name: str, about: str, packages: list[Locked]) -> None:
    text = HEADER.format(about=about, name=name) + join_locked(packages)
    new = FOLDER / f"{name}.new"
    new.write_text(text, encoding="utf-8")
    new.replace(FOLDER / f"{name}.txt")
    print(f"locks/{name}.txt: {len(packages)} packages, {text.count('--hash=')} hashes")


def _find(name: str, packages: list[Locked]) -> list[Locked]:
    return [locked for locked in packages if locked.name == name]


def _mark(locked: Locked, marker: str) -> Locked:
    pin = f"{locked.name}=={locked.version}"
    return locked._replace(text=locked.text.replace(pin, f"{pin} ; {marker}", 1))


def _lock_cpu(pins: list[str], cuda: list[Locked]) -> list[Locked]:
    """The same versions with torch's CPU build on Linux, and without what its CUDA build needs."""
    rest = [locked for locked in cuda if locked.name != "torch"]
    mine = [locked for locked in _find("torch", _read_lock("cpu")) if locked.version.endswith("+cpu")]
    cpu = _compile(pins, [*rest, *mine])
    torch = _find("torch", cpu)[0]
    if not torch.version.endswith("+cpu"):
        sys.exit(f"make lock: pip finds no CPU build of torch; set PIP_EXTRA_INDEX_URL={CPU_INDEX} and try again.")
    builds = [_mark(_find("torch", cuda)[0], OTHERS), _mark(torch, LINUX)]
    return [*(locked for locked in cpu if locked.name != "torch"), *builds]


def _lock_dev(pins: list[str], cpu: list[Locked]) -> list[Locked]:
    """What the tests need on top of a lock for runs."""
    run = {locked.name: locked.version for locked in cpu if OTHERS not in locked.text}
    both = _compile(pins, [*(locked for locked in cpu if OTHERS not in locked.text), *_read_lock("dev")])
    moved = [f"{new.name} to {new.version}" for new in both if run.get(new.name, new.version) != new.version]
    if moved:
        sys.exit(
            f"make lock: the extra `dev` would move what runs use: {', '.join(moved)}; pin that in pyproject.toml."
        )
    return [locked for locked in both if locked.name not in run]


def pick_extra(pins: list[str], dev: list[Locked]) -> list[Locked]:
    """Of what the tests need, what these pins bring along, by the comments that say for whom a package is there."""
    names = {re.sub("[-_.]+", "-", re.split(r"==|\[", pin)[0]).lower() for pin in pins}
    picked: list[Locked] = []
    while more := [locked for locked in dev if locked not in picked and {locked.name, *_list_askers(locked)} & names]:
        picked += more
        names |= {locked.name for locked in more}
    return picked


def _list_askers(locked: Locked) -> list[str]:
    """The packages that need this one."""
    return re.findall(r"^    #(?: via)? +(\S+)$", locked.text, re.MULTILINE)


def _lock_group(name: str, pins: list[str]) -> list[Locked]:
    packages = _compile(pins, _read_lock(name))
    if name not in ALONE:
        return packages
    named = [pin.split("==")[0].replace("_", "-") for pin in pins]
    return [locked for locked in packages if locked.name in named]


def main() -> None:
    """All lock files, one after the other."""
    toml = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    pins, extras = toml["project"]["dependencies"], toml["project"]["optional-dependencies"]
    cuda = _compile(pins, _read_lock("cuda"), INDEX_ALONE)
    cpu = _lock_cpu(pins, cuda)
    _write_lock("cuda", "What runs use on Linux with an NVIDIA GPU: torch with CUDA.", cuda)
    _write_lock("cpu", "What runs use without an NVIDIA GPU: torch for the CPU.", cpu)
    dev = _lock_dev([*pins, *extras["dev"]], cpu)
    for name, extra in extras.items():
        about = f"The extra `{name}` of pyproject.toml, on top of cpu.txt or cuda.txt."
        _write_lock(name, about, dev if name == "dev" else pick_extra(extra, dev))
    for name, group in toml["dependency-groups"].items():
        _write_lock(name, f"The group `{name}` of pyproject.toml, apart from the rest.", _lock_group(name, group))


if __name__ == "__main__":
    main()
