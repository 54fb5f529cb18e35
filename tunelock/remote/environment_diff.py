"""What differs between the machines and packages that two runs were made with."""

from typing import Any, NamedTuple

from tunelock.remote.run_record import LockedStage, RunRecord

_PACKAGES = "other_versions"
_NOT_COMPARED = (_PACKAGES, "name")  # a machine's name changes nothing
UNKNOWN = "not recorded"


class EnvironmentDifference(NamedTuple):
    """A fact of two runs and the stages that it differs in; a package stands there with its versions."""

    what: str
    theirs: str
    again: str
    stages: tuple[str, ...]


def compare_environments(theirs: RunRecord, again: RunRecord) -> list[EnvironmentDifference]:
    """The facts and package versions that differ in stages which both runs have, the most widespread first."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name in theirs.stages.keys() & again.stages.keys():
        one, other = _collect_facts(theirs, name), _collect_facts(again, name)
        if not one or not other:
            if one != other:
                found.setdefault(("machine", _name_state(one), _name_state(other)), []).append(name)
            continue
        for what in one.keys() | other.keys():
            if one.get(what) != other.get(what):
                key = (what, str(one.get(what, "none")), str(other.get(what, "none")))
                found.setdefault(key, []).append(name)
    order = list(theirs.stages)
    differences = [EnvironmentDifference(*key, tuple(sorted(names, key=order.index))) for key, names in found.items()]
    return sorted(differences, key=lambda one: (-len(one.stages), one))


def _name_state(facts: dict[str, Any]) -> str:
    return "recorded" if facts else UNKNOWN


def _collect_facts(run: RunRecord, name: str) -> dict[str, Any]:
    """The facts of a stage's machine with the version of each package; empty where nothing was recorded."""
    stage: LockedStage = run.stages[name]
    if not stage.machine:
        return {}
    versions = run.pins | stage.machine.get(_PACKAGES, {})
    packages = {f"package {package}": version for package, version in versions.items() if package != "torch"}
    return packages | {what: value for what, value in stage.machine.items() if what not in _NOT_COMPARED}


def name_machine(run: RunRecord) -> str:
    """Where a run was made, in words: the machines of its stages, the most frequent first."""
    machines = [stage.machine for stage in run.stages.values() if stage.machine]
    if not machines:
        return UNKNOWN
    named = [_describe_one(machine) for machine in machines]
    return "; ".join(sorted(set(named), key=lambda text: (-named.count(text), text)))


def _describe_one(machine: dict[str, Any]) -> str:
    parts = [machine.get(key) for key in ("name", "gpu", "cpu")]
    return ", ".join(str(part) for part in parts if part) or "a machine without a name"
