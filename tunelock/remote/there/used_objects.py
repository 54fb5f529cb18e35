"""Print the objects of DVC's cache that belong to the experiment in this clone, as JSON: `[[path, size], …]`.

It needs DVC, so it runs in the job's environment. What the host was not given, because nothing there reads it, is not
listed: it is at home.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage, cache
from dvc_data.hashfile.tree import Tree


def _list_used_objects(repo: Repo) -> list[tuple[str, int]]:
    """(path below the cache, bytes) of what is there of the stages' outs and their entries in the run cache."""
    root, paths = Path(repo.cache.local_cache_dir), set()
    for stage in repo.index.stages:
        for out in stage.outs:
            paths.update(f"files/md5/{oid[:2]}/{oid[2:]}" for oid in _list_oids(out))
        paths.update(_list_cached_runs(root, stage))
    there = [(path, root / path) for path in sorted(paths)]
    return [(path, file.stat().st_size) for path, file in there if file.exists()]


def _list_oids(out: Output) -> Iterator[str]:
    """The hash of an out, and of the files in it if it is a folder."""
    if not out.hash_info:
        return
    yield out.hash_info.value
    if out.hash_info.isdir and out.cache.exists(out.hash_info.value):
        for _, _, info in Tree.load(out.cache, out.hash_info):
            yield info.value


def _list_cached_runs(root: Path, stage: Stage) -> list[str]:
    """The entries of a stage in the run cache. A stage whose inputs are not here did not run here and has none."""
    try:
        key = cache._get_stage_hash(stage) if stage.cmd and cache._can_hash(stage) else ""
    except FileNotFoundError:
        return []
    folder = root / "runs" / key[:2] / key
    return [f"runs/{key[:2]}/{key}/{file.name}" for file in folder.glob("*")] if key else []


if __name__ == "__main__":
    print(json.dumps(_list_used_objects(Repo())))
