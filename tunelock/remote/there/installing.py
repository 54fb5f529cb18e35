"""Puts the packages of a lock file into a venv, for `make` here and for jobs there: every file is held to its sha256.

    python3.11 -m tunelock.remote.there.installing VENV [cpu | cuda]

Standard library and pip alone. torch and setuptools come first: torch, because its CPU build may have to be looked for
on PyTorch's own index; setuptools, because the few packages without a wheel are built with it (--no-build-isolation),
and not with one that pip would fetch without a hash.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tunelock.remote.there.locking import count_gpus
from tunelock.remote.there.refusal import Refused

CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # where torch's CPU build is, if pip's own places have none
FIRST = ("torch", "setuptools")
# A lock names all that its packages need, so pip looks for no more (--no-deps).
_PIP = ("-m", "pip", "install", "--no-deps", "--require-hashes", "--no-build-isolation", "--no-input",
        "--progress-bar=off", "--disable-pip-version-check", "--no-color")  # fmt: skip
_NEEDS = {"cpu": 3e9, "cuda": 9e9}  # bytes; 2.6 GB measured for the CPU, CUDA's libraries are about 5 GB more
_OFFLINE = ("NewConnectionError", "Name or service not known", "Temporary failure in name resolution", "ProxyError",
            "ConnectTimeoutError", "Network is unreachable")  # fmt: skip
_PAUSE = 20.0  # seconds between two lines of progress


def choose_lock() -> str:
    """`cuda` where the driver shows an NVIDIA GPU, else `cpu`."""
    return "cuda" if count_gpus() else "cpu"


def find_lock(clone: Path, name: str) -> Path:
    """The lock file of that name in a clone.

    Raises:
        Refused: the commit has none.
    """
    path = clone / "locks" / f"{name}.txt"
    if not path.exists():
        raise Refused(f"locks/{name}.txt is not in this commit; `make lock` writes it, commit it.")
    return path


def read_lock_pins(lock: Path) -> dict[str, str]:
    """Version by name of what a lock file installs on this system."""
    other = '!= "linux"' if sys.platform == "linux" else '== "linux"'
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if other not in line]
    pins = [re.match(r"([a-z0-9.-]+)==([^\s;]+)", line) for line in lines]
    return {pin[1]: pin[2] for pin in pins if pin}


def install_locked(venv: Path, lock: Path, say: Callable[[str], None]) -> None:
    """Install what the lock file names, and remove nothing.

    Raises:
        Refused: there is no room, no index, no such package or another file than the lock names.
    """
    free = shutil.disk_usage(venv).free
    if free < _NEEDS[lock.stem] and not any(venv.glob("lib/*/site-packages/torch")):
        needs, there = f"{_NEEDS[lock.stem] / 1e9:.0f} GB", f"{free / 1e9:.1f} GB"
        raise Refused(
            f"the environment needs about {needs} and {there} are free on the disk of {venv}; free some, or take a "
            "folder on another disk."
        )
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder, lock.name)
        first.write_text(_cut_first(lock), encoding="utf-8")
        said, code = _run_pip(venv, first, say)
        if code and "No matching distribution found for torch" in said:
            say(f"pip finds no CPU build of torch; looks at {CPU_INDEX}")
            said, code = _run_pip(venv, first, say, f"--extra-index-url={CPU_INDEX}")
    if not code:
        said, code = _run_pip(venv, lock, say)
    if code:
        raise Refused(explain_failure(said, lock, venv))


def _cut_first(lock: Path) -> str:
    """The lines of the packages that are installed before all others."""
    blocks = re.findall(r"^[\w.-]+==.*\n(?:[ \t].*\n)*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return "".join(block for block in blocks if block.startswith(tuple(f"{name}==" for name in FIRST)))


def _run_pip(venv: Path, lock: Path, say: Callable[[str], None], *options: str) -> tuple[str, int]:
    """What pip said, and its exit code; tells now and then how far it is."""
    command = [str(venv / "bin/python"), *_PIP, *options, "-r", str(lock)]
    lines, total, told = [], len(read_lock_pins(lock)), time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        for line in pip.stdout:
            lines.append(line)
            if time.monotonic() - told > _PAUSE:
                told = time.monotonic()
                say(describe_progress(lines, total))
    return "".join(lines), pip.returncode


def describe_progress(lines: list[str], total: int) -> str:
    """How far pip is, from what it said."""
    if any(line.startswith("Installing collected packages") for line in lines):
        return f"all {total} packages are fetched; pip installs them"
    begun = re.findall(r"^(?:Collecting|Processing) (.+?)(?: \(from|$)", "".join(lines), re.MULTILINE)
    there = sum(line.startswith("Requirement already satisfied: ") for line in lines)
    return f"packages: {len(begun) + there} of {total}, {begun[-1].rpartition('/')[2] if begun else ''}".rstrip(", ")


def explain_failure(said: str, lock: Path, venv: Path) -> str:
    """One sentence about why pip failed and what to do, from what it said."""
    name = f"locks/{lock.name}"
    if wrong := re.search(
        r"^ +(\S+?)(?:==(\S+))? from (\S+).*\n((?: +Expected .*\n)+) +Got +(\w+)", said, re.MULTILINE
    ):
        return _explain_hash(wrong, name)
    if "No space left on device" in said:
        return f"the disk of {venv} is full; free some, or take a folder on another disk."
    if any(word in said for word in _OFFLINE):
        return (
            "no package index is reached from there; set PIP_INDEX_URL to one that is, or name an environment that has "
            "the packages as `venv` of the host in remote.yaml."
        )
    if missing := re.search(r"No matching distribution found for ([^\s;]+)", said):
        return f"pip finds {missing[1]} of {name} nowhere it looks; `pip config list` there says where that is."
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return f"pip could not install {name}: {(errors or said.strip().splitlines() or ['it said nothing'])[-1].strip()}"


def _explain_hash(wrong: re.Match[str], name: str) -> str:
    expected = re.findall(r"\w{64}", wrong[4])
    more = f" or {len(expected) - 1} others" if len(expected) > 1 else ""
    package = f"{wrong[1]} {wrong[2]}" if wrong[2] else wrong[1]
    return (
        f"{package} was not installed: {wrong[3]} has the sha256 {wrong[5]}, and {name} expects {expected[0]}{more}. "
        "Ask who changed that file, an index or a proxy; `make lock` belongs only after a change of versions."
    )


def install_launcher(clone: Path, tools: Path) -> None:
    """Put the command `tunelock` beside the Python of a venv, whole or not at all."""
    new = tools / f".tunelock-{os.getpid()}"
    shutil.copyfile(clone / "tunelock/launcher.sh", new)
    new.chmod(0o755)
    new.replace(tools / "tunelock")


def main(venv: str, name: str = "") -> None:
    """Install into the venv of the clone in which one stands."""
    try:
        lock = find_lock(Path(), name or choose_lock())
        install_locked(Path(venv), lock, print)
        install_launcher(Path(), Path(venv, "bin"))
    except Refused as refusal:
        sys.exit(f"make: {refusal}")


if __name__ == "__main__":
    main(*sys.argv[1:])
