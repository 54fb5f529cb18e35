"""The lock files: what pyproject.toml pins, whole, with hashes, the same for both builds, and what is installed."""

import re
import tomllib
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement

from locks.make_locks import read_locked
from tests.conftest import ROOT
from tunelock.remote.there.environment import compare_packages
from tunelock.remote.there.installing import read_lock_pins

TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS, EXTRAS = TOML["project"]["dependencies"], TOML["project"]["optional-dependencies"]
FILES = sorted((ROOT / "locks").glob("*.txt"))
OF_CUDA = {"triton"}


def name_of(pin: str) -> str:
    return re.sub("[-_.]+", "-", re.split(r"==|\[", pin)[0]).lower()


def named(pins: list[str]) -> dict[str, str]:
    """Version by name; a pin that is not exact fails."""
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", pin)] == []
    return {name_of(pin): pin.split("==")[1] for pin in pins}


def read_lock(name: str) -> dict[str, str]:
    return read_lock_pins(ROOT / "locks" / f"{name}.txt")


def test_every_pin_of_the_project_is_in_the_locks():
    for name in ("cpu", "cuda"):
        locked = read_lock(name)
        assert {pin: locked[pin].split("+")[0] for pin in named(PINS)} == named(PINS)
    both = read_lock("cpu") | read_lock("dev")
    for extra, pins in EXTRAS.items():
        assert {pin: both[pin] for pin in named(pins)} == named(pins)
        assert read_lock(extra).items() <= both.items()  # the same versions wherever a package stands
    for group, pins in TOML["dependency-groups"].items():
        locked = read_lock(group)
        assert {pin: locked[pin] for pin in named(pins)} == named(pins)


def test_each_group_and_each_build_has_a_lock_and_no_file_is_left_over():
    assert {path.stem for path in FILES} == {"cpu", "cuda", *EXTRAS, *TOML["dependency-groups"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_package_has_a_hash_and_nothing_else_stands_in_a_lock(path):
    text = path.read_text()
    packages = read_locked(text)
    assert [locked.name for locked in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", locked.text)] == []
    rest = [line for line in text.splitlines() if not line.startswith("#") and not re.match(r"    ( *#|--hash=)", line)]
    assert len(rest) == len(packages)  # no option, folder or index of a machine
    assert all(line == f"{name}=={version} \\" or " ; sys_platform " in line
               for line, (name, version, _) in zip(rest, packages, strict=True))  # fmt: skip


def test_both_builds_have_the_same_versions_but_for_what_cuda_brings():
    cpu, cuda = read_lock("cpu"), read_lock("cuda")
    assert {name: version.split("+")[0] for name, version in cpu.items()} == {name: cuda[name] for name in cpu}
    assert all(name in OF_CUDA or name.startswith(("cuda-", "nvidia-")) for name in cuda.keys() - cpu.keys())
    assert cpu["torch"].endswith("+cpu")


def test_an_extra_comes_on_top_of_a_run_s_packages():
    assert {name for extra in EXTRAS for name in read_lock(extra)} & read_lock("cuda").keys() == set()


def test_what_is_installed_is_what_the_locks_name():
    installed = {name_of(found.metadata["Name"]): found.version for found in distributions()}
    assert compare_packages(read_lock("cpu"), installed) == []
    tools = {name: version for name, version in read_lock("dev").items() if name in installed}
    assert compare_packages(tools, installed) == []


def list_needs() -> dict[str, set[str]]:
    """What each installed package needs, extras apart."""
    needs = {}
    for package in distributions():
        lines = [Requirement(line) for line in package.requires or ()]
        asked = [line for line in lines if not line.marker or line.marker.evaluate({"extra": ""})]
        needs[name_of(package.metadata["Name"])] = {name_of(line.name) for line in asked}
    return needs


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_a_lock_has_all_that_its_packages_need_for_pip_looks_for_no_more(extra):
    locked, needs = read_lock("cpu").keys() | (read_lock(extra).keys() if extra else set()), list_needs()
    assert {name: needs[name] - locked for name in locked if needs.get(name, set()) - locked} == {}
