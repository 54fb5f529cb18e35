"""Which stages a run on a host will run, and which outs it has to find there: asked of DVC in a clone of the snapshot.

The clone is the one that the host makes, so code, dvc.yaml, dvc.lock and params are what the host will see. Data is in
neither, so the hash of what a stage reads is that which dvc.lock or a .dvc file has for it.

What `dvc exp run --allow-missing` of DVC 3.67.1 does (tests/remote/test_inputs.py runs it):
- It skips a stage whose deps and outs are missing and that is otherwise as dvc.lock has it.
- It does not make a missing out for a later stage, which then fails: such a stage loses its entry in dvc.lock.
- It takes a folder for changed in which an out is missing beside files of git, so that out must be there.
- It fails if a stage reads a part of a folder whose list of files (`.dir`) is missing, even where it skips the stage.
- It skips a stage that lags behind dvc.lock if it reads a part of a missing folder, so that folder must be there.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, product
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dvc.dependency import Dependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage
    from dvc_data.hashfile.hash_file import HashFile


class _Edge(NamedTuple):
    """A stage that reads an out, or a part of it, or a folder in which it lies, of another stage or a .dvc file."""

    stage: "Stage"
    dep: "Dependency"
    out: "Output"

    @property
    def reads_part(self) -> bool:
        """Whether what is read lies in the out."""
        return self.dep.fs_path != self.out.fs_path and lies_in(self.dep.fs_path, self.out.fs_path)

    @property
    def reads_folder_around(self) -> bool:
        """Whether the out is but a part of what is read: DVC then takes the folder for changed where it lacks."""
        return self.dep.fs_path != self.out.fs_path and lies_in(self.out.fs_path, self.dep.fs_path)


class RunForecast:
    """What becomes of the stages of a repository without data when `dvc exp run --allow-missing` runs there.

    `forgotten` are stages whose entries dvc.lock is to lose, so that DVC runs them.
    """

    def __init__(self, repo: "Repo", forgotten: Iterable["Stage"] = ()):
        self.repo, self.forgotten = repo, set(forgotten)
        self.steps = _list_steps(repo)
        self.edges = list(_list_edges(self.list_reads(), self._list_outs()))
        self.surely = {stage for stage in self.steps if self._is_stale(stage)}

    @cached_property
    def perhaps(self) -> set["Stage"]:
        """Stages that run if one before them writes something new."""
        return self._spread(None) - self.surely

    def runs(self, stage: "Stage") -> bool:
        """Whether a stage may run."""
        return stage in self.surely or stage in self.perhaps

    def list_needed(self) -> list["Output"]:
        """The outs that must be there, in run order: those that a stage may read while their own stage does not run."""
        return [out for out in self._list_outs() if self._is_needed(out)]

    def list_opened(self) -> list["Output"]:
        """Folders of which a stage reads a part: DVC looks into their lists of files, even where it skips the stage."""
        inner = {edge.out for edge in self.edges if edge.reads_part}
        return [out for out in self._list_outs() if out in inner and out.stage not in self.surely]

    def list_reads(self) -> Iterator[tuple["Stage", "Dependency"]]:
        """Each stage of dvc.yaml with each file or folder of the repository or of this machine that it reads."""
        for stage in self.steps:
            for dep in stage.deps if stage.cmd else ():
                if dep.protocol == "local":
                    yield stage, dep

    def _list_outs(self) -> list["Output"]:
        return list(chain.from_iterable(stage.outs for stage in self.steps))

    def _is_needed(self, out: "Output") -> bool:
        owner = out.stage
        if owner in self.surely:
            return bool(out.persist and out.hash_info)  # a stage finds such an out of its own as the last run left it
        if owner.frozen and owner.cmd and owner.changed_stage():
            return True  # DVC looks whether its outs are there
        readers = [edge for edge in self.edges if edge.out is out]
        if any(edge.reads_folder_around and not edge.stage.frozen for edge in readers):
            return True
        running = self._spread(owner)
        return any(edge.stage in running for edge in readers)

    def _spread(self, resting: "Stage | None") -> set["Stage"]:
        """All stages that may run, given that `resting` does not: then what it reads stays the same."""
        same = {edge.out for edge in self.edges if edge.stage is resting}
        running: set[Stage] = set()
        for stage in self.steps:
            read = {edge.out for edge in self.edges if edge.stage is stage}
            touched = any(out.stage in running for out in read - same)
            if stage is not resting and (stage in self.surely or (touched and not stage.frozen)):
                running.add(stage)
        return running

    def _is_stale(self, stage: "Stage") -> bool:
        """Whether a stage runs whatever those before it write."""
        if not stage.cmd or stage.frozen:
            return False
        return (
            stage in self.forgotten
            or stage.changed_stage()
            or stage.is_callback
            or stage.always_changed
            or any(_has_changed(out) for out in stage.outs)
            or any(self._differs(stage, dep) for dep in stage.deps)
        )

    def _differs(self, stage: "Stage", dep: "Dependency") -> bool:
        """Whether what a stage reads is not what it read last. Data that is nowhere to be seen is the same to DVC."""
        outs = [edge.out for edge in self.edges if edge.dep is dep]
        if not outs:
            return _has_changed(dep)
        hash_now = _find_hash(dep, outs)
        return not dep.hash_info or (hash_now is not None and hash_now != dep.hash_info.value)


def name_stage(stage: "Stage") -> str:
    """A stage as `dvc repro` takes it from the root: `train`, `sub/dvc.yaml:train`, `data/raw/x.jsonl.dvc`."""
    name = getattr(stage, "name", None)
    path: str = stage.path_in_repo
    return path if not name else str(name) if path == "dvc.yaml" else f"{path}:{name}"


def name_path(data: "Output") -> str:
    """The path of a dep or out from the root of its repository."""
    return PurePath(data.fs_path).relative_to(data.repo.root_dir).as_posix()


def _list_steps(repo: "Repo") -> list["Stage"]:
    """What `dvc exp run` goes through, in its order: the stages of dvc.yaml and what they need."""
    from dvc.repo.reproduce import get_active_graph, plan_repro

    written = [stage for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"]
    steps: list[Stage] = plan_repro(get_active_graph(repo.index.graph), written)
    return steps


def _has_changed(data: "Output") -> bool:
    """Whether a dep or out differs from dvc.lock; what is missing does not, by `--allow-missing`."""
    return any(state not in ("deleted", "not in cache") for state in data.status().values())


def _list_edges(reads: Iterable[tuple["Stage", "Dependency"]], outs: list["Output"]) -> Iterator[_Edge]:
    for (stage, dep), out in product(reads, outs):
        if lies_in(dep.fs_path, out.fs_path) or lies_in(out.fs_path, dep.fs_path):
            yield _Edge(stage, dep, out)


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is that of the folder or below it."""
    return path == folder or path.startswith(f"{folder}/")


def _find_hash(dep: "Dependency", outs: list["Output"]) -> str | None:
    """The hash that DVC would compute for a dep with all data in its place; None where the cache lacks it."""
    if lies_in(dep.fs_path, outs[0].fs_path):
        if dep.fs_path == outs[0].fs_path:
            return _name_hash(outs[0])
        part = outs[0].get_obj(filter_info=dep.fs_path) if _name_hash(outs[0]) else None
        return _name_hash(part)
    return _hash_folder(dep, [out for out in outs if out.use_cache])


def _name_hash(data: "Output | HashFile | None") -> str | None:
    return data.hash_info.value if data is not None and data.hash_info else None


def _hash_folder(dep: "Dependency", outs: list["Output"]) -> str | None:
    """The hash of a folder of git's files, with the outs in it as dvc.lock and .dvc files have them."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    if dep.exists:
        _, _, tree = build(dep.local_cache, dep.fs_path, dep.fs, dep.hash_name, ignore=dep.dvcignore, dry_run=True)
    for out in outs:
        place, found = out.fs.relparts(out.fs_path, dep.fs_path), out.get_obj()
        if _name_hash(out) is None or (found is None and out.is_dir_checksum):
            return None
        if isinstance(found, Tree):
            for key, meta, info in found:
                tree.add((*place, *key), meta, info)
        else:
            tree.add(place, out.meta, out.hash_info)
    tree.digest()
    return _name_hash(tree)
