"""A finished job becomes an experiment here: its objects first, its ref last, so that half a pull is harmless."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.remote.connection import Connection, connect
from tunelock.remote.hosts import Host
from tunelock.remote.storage import fetch_objects
from tunelock.remote.submit import find_cache
from tunelock.remote.there.stored_objects import Moved
from tunelock.remote.there.streams import find_missing
from tunelock.run.errors import Stop
from tunelock.run.revisions import run_git

RESULTS = "refs/tunelock/results"


class Pulled(NamedTuple):
    """What came: the experiment's name and commit, and bytes fetched and those that were here."""

    name: str
    host: str
    commit: str
    fetched: int
    here_already: int


def pull(host: Host, jobs: list[str], seen: Callable[[int, int], None]) -> list[Pulled]:
    """Make experiments of finished jobs. A second time is harmless.

    `seen` gets the bytes of each piece that comes, and how many are to come in all.

    Raises:
        Stop: a job is not done (with its cause), or another experiment has its name here.
    """
    with connect(host) as connection:
        results = connection.ask("result", jobs=jobs)
        return [_pull_one(connection, results["root"], result, seen) for result in results["jobs"]]


def _pull_one(connection: Connection, root: str, result: dict[str, Any], seen: Callable[[int, int], None]) -> Pulled:
    state, name, job = result["state"], result["order"]["name"], result["order"]["id"]
    if state["state"] != "done":
        raise Stop(
            f"{job} is {state['state']}: {state.get('cause') or f'`tunelock remote logs {job}` shows how far it is.'}"
        )
    taken = run_git("for-each-ref", "--format=%(objectname)", state["exp"]).strip()
    if taken and taken != state["commit"]:
        raise Stop(
            f"another experiment '{name}' of the same commit is here; `dvc exp rename {name} NEW`, then pull again."
        )
    cache = find_cache()
    objects = [(path, size) for path, size in result["objects"]]
    moved = _fetch_objects(connection, objects, cache, seen)
    fetch_commit(connection, root, job, state["commit"])
    run_git("update-ref", state["exp"], state["commit"])
    return Pulled(name, connection.host.name, state["commit"], moved.size, moved.there_already)


def _fetch_objects(
    connection: Connection, objects: list[tuple[str, int]], cache: Path, seen: Callable[[int, int], None]
) -> Moved:
    """Take what the cache lacks out of the host's cache, or of the storage that both share."""
    sizes, missing = dict(objects), find_missing(cache, objects)
    size = sum(sizes[path] for path in missing)
    if missing and connection.host.storage:
        fetch_objects(connection.host.storage, objects, cache, lambda piece: seen(piece, size))
    elif missing:
        connection.fetch(sorted(missing), cache, lambda piece: seen(piece, size))
    return Moved(len(missing), size, sum(sizes.values()) - size)


def fetch_commit(connection: Connection, root: str, job: str, commit: str) -> None:
    """Take the commit that a job made, and what leads to it, from the repository of the host; no ref names it."""
    repository = connection.name_repository(root)
    quiet = ("--quiet", "--no-tags", "--no-write-fetch-head")
    connection.call_git("fetch the commit", "fetch", *quiet, repository, f"{RESULTS}/{job}")
    run_git("cat-file", "-e", commit)
