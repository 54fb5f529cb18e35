"""From the workspace to jobs on a host: snapshot, inputs, orders; what is there already is not sent."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tunelock.privacy.credentials import find_secrets
from tunelock.remote.connection import Connection, connect
from tunelock.remote.hosts import Host
from tunelock.remote.inputs import Inputs, list_inputs
from tunelock.remote.orders import Work, read_environment, write_orders
from tunelock.remote.sky import keep_rented
from tunelock.remote.snapshot import Snapshot, take_snapshot
from tunelock.remote.storage import push_objects
from tunelock.remote.sweeps import expand_overrides, find_common_stages, list_swept_keys, name_tasks
from tunelock.remote.there.stored_objects import Moved
from tunelock.run.errors import Stop
from tunelock.run.revisions import run_git

Seen = Callable[[int, int], None]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
JOBS = "refs/tunelock/jobs"  # of the snapshots, here and on the host


class Wish(NamedTuple):
    """What a person asks for: the experiment's name, and overrides as `dvc exp run -S` takes them."""

    name: str
    overrides: list[str]


class Submission(NamedTuple):
    """What was sent, in bytes, and the ids of the jobs that it became."""

    jobs: list[str]
    snapshot: Snapshot
    inputs: Inputs
    sent: int
    there_already: int


def submit(host: Host, wish: Wish, allowed: Sequence[str], max_file_mb: float, seen: Seen) -> Submission:
    """Send the workspace as it is and start a job for each combination of overrides.

    `seen` gets the bytes of each piece of data that is sent, and how many there are in all.

    Raises:
        Stop: a name is taken, the snapshot is refused, or the host says no. Nothing stays behind there.
    """
    tasks = expand_overrides(wish.overrides)
    names = name_tasks(wish.name, len(tasks))
    _refuse_unusable(names, wish.overrides)
    _refuse_taken(names)
    snapshot = take_snapshot(max_file_mb, allowed)
    inputs = list_inputs(tasks, snapshot, allowed)
    common = find_common_stages(list_swept_keys(wish.overrides)) if len(tasks) > 1 else ()
    work = Work(
        "run", snapshot.commit, snapshot.head, wish.name if len(tasks) > 1 else None,
        inputs.objects if host.storage else (), common, inputs.made_again,
    )  # fmt: skip
    orders = write_orders(host, work, dict(zip(names, tasks)))
    moved = dispatch(host, orders, inputs.objects, seen)
    return Submission([order["id"] for order in orders], snapshot, inputs, moved.size, moved.there_already)


def dispatch(host: Host, orders: list[dict[str, Any]], objects: Sequence[tuple[str, int]], seen: Seen) -> Moved:
    """Send what the host lacks and have it start the jobs of one snapshot; what was moved.

    Raises:
        Stop: the host cannot be reached or says no. Nothing stays behind there.
    """
    jobs, environment = [order["id"] for order in orders], read_environment(host)
    with keep_rented(host), connect(host) as connection:
        told = connection.ask("prepare", objects=[] if host.storage else objects, roots=_list_roots())
        moved = _send_inputs(connection, objects, told, seen)
        with _leave_nothing_behind(connection, jobs):
            refs = [f"{orders[0]['snapshot']}:{JOBS}/{job}" for job in jobs]
            repository = connection.name_repository(told["root"])
            connection.call_git("send the workspace", "push", "--quiet", "--no-verify", repository, *refs)
            connection.ask("submit", orders=orders, environment=environment)
    return moved


def _send_inputs(connection: Connection, objects: Sequence[tuple[str, int]], told: dict[str, Any], seen: Seen) -> Moved:
    """Give the host, or the storage that it shares with this machine, the objects that it lacks."""
    host, cache, sizes = connection.host, find_cache(), dict(objects)
    total = sum(sizes.values())
    if host.storage:
        return push_objects(host.storage, objects, cache, lambda piece: seen(piece, total))
    size = sum(sizes[path] for path in told["missing"])
    _refuse_full_disk(host, size, told["free"])
    if told["missing"]:
        connection.ask("put", send=told["missing"], cache=cache, seen=lambda piece: seen(piece, size))
    return Moved(len(told["missing"]), size, total - size)


@contextmanager
def _leave_nothing_behind(connection: Connection, jobs: list[str]) -> Iterator[None]:
    """Have the host forget snapshots that become no job, if it can be told; else it does so by itself an hour later."""
    try:
        yield
    except BaseException:
        with suppress(Stop):
            connection.ask("abandon", jobs=jobs)
        raise


def _list_roots() -> list[str]:
    """The first commits of this repository, by which a host knows it; none where the clone is shallow."""
    shallow = run_git("rev-parse", "--is-shallow-repository").strip() == "true"
    return [] if shallow else run_git("rev-list", "--max-parents=0", "HEAD").split()


def find_cache() -> Path:
    """DVC's cache of this repository, wherever it is."""
    from dvc.repo import Repo

    return Path(Repo().cache.local_cache_dir)


def _refuse_unusable(names: list[str], overrides: list[str]) -> None:
    """Stop at a name that git, a folder or a shell would take for something else, and at a token in an override."""
    for name in names:
        if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", ".lock")):
            raise Stop(
                f"-n {name}: a name has letters, digits, `-`, `_` and `.`, at most 60, and begins with a letter "
                "or digit; give another one."
            )
    for override in overrides:
        if any(find_secrets(override)):
            key = override.partition("=")[0]
            raise Stop(f"-S {key}: its value looks like a token; name a variable in `environment` of remote.yaml.")


def _refuse_taken(names: list[str]) -> None:
    refs = run_git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    head = run_git("rev-parse", "HEAD").strip()
    for name in names:
        if f"refs/exps/{head[:2]}/{head[2:]}/{name}" in refs:
            raise Stop(
                f"an experiment '{name}' of this commit exists already; give another name by -n, or "
                f"`dvc exp remove {name}`."
            )


def _refuse_full_disk(host: Host, size: int, free: int) -> None:
    if size > free:
        raise Stop(
            f"{host.name}: {size / 1e9:.1f} GB are to be sent and {free / 1e9:.1f} GB are free below {host.folder}; "
            "free some, or set another `folder` in remote.yaml."
        )


def make_up_name() -> str:
    """A name for an experiment that has none yet."""
    from dvc.repo.experiments.utils import gen_random_name

    return gen_random_name()
