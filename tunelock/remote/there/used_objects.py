"""Print the objects of DVC's cache that belong to the experiment in this clone, as JSON: `[[path, size], …]`.

It is the one module of the host's side that needs DVC: it runs in the job's environment.
"""

import json
from pathlib import Path

from dvc.repo import Repo
from dvc.stage import cache as stage_cache


def list_used_objects(repo: Repo) -> list[tuple[str, int]]:
    """(path below the cache, bytes) of each out that lies in the cache, and of the stages' entries in the run cache."""
    root, paths = Path(repo.cache.local_cache_dir), set()
    for found in repo.used_objs(with_deps=True).values():
        for info in found:
            paths.add(f"files/md5/{info.value[:2]}/{info.value[2:]}")
    for stage in repo.index.stages:
        if stage.cmd and stage_cache._can_hash(stage):
            paths.update(_list_runs(root, stage_cache._get_stage_hash(stage)))
    kept = [(path, root / path) for path in sorted(paths)]
    return [(path, file.stat().st_size) for path, file in kept if file.exists()]


def _list_runs(root: Path, key: str) -> list[str]:
    folder = root / "runs" / key[:2] / key
    return [f"runs/{key[:2]}/{key}/{file.name}" for file in folder.glob("*")]


if __name__ == "__main__":
    print(json.dumps(list_used_objects(Repo())))
