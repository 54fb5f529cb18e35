"""A locked experiment, made again on a host with nothing but its commit and the data that no stage makes."""

import time
from collections.abc import Callable
from itertools import chain
from typing import Any

from tunelock.remote.connection import connect
from tunelock.remote.host_models import LocalHost
from tunelock.remote.hosts import REMOTE_YAML, Host, find_host, load_hosts
from tunelock.remote.job_hosts import note_jobs
from tunelock.remote.orders import Work, write_orders
from tunelock.remote.pull import fetch_commit
from tunelock.remote.submit import Seen, dispatch
from tunelock.remote.there.job_files import ENDS
from tunelock.run.errors import Stop
from tunelock.run.revisions import find_commit, run_git

_LOOK = 3.0  # seconds between two looks at the job


def find_experiment(name: str) -> str:
    """The commit of an experiment by its name, or of a branch, tag or commit.

    Raises:
        Stop: nothing is called so, or several experiments are.
    """
    refs = run_git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").splitlines()
    called = [line.split() for line in refs if line.split()[0].endswith(f"/{name}")]
    if len(called) > 1:
        commits = ", ".join(commit[:7] for _, commit in called)
        raise Stop(f"{len(called)} experiments are called '{name}'; name one by its commit: {commits}.")
    return called[0][1] if called else find_commit(name)


def choose_host(name: str | None) -> Host:
    """The host of that name; without one this machine, as remote.yaml has it or with its defaults."""
    if name:
        return find_host(name)
    known = load_hosts().hosts.values() if REMOTE_YAML.exists() else ()
    return next((host for host in known if host.engine == "local"), LocalHost(name="here", engine="local"))


def make_again(host: Host, commit: str, seen: Seen, waiting: Callable[[dict[str, Any]], None]) -> str:
    """Run all stages of a commit on a host, with an empty cache; the commit of what came out.

    A job for this commit that is there already is waited for and not started twice. `waiting` gets its state at each
    look. If this process ends meanwhile, the job goes on, and the same call finds it again.

    Raises:
        Stop: the job failed, with its cause.
    """
    job = _find_job(host, commit) or _start_job(host, commit, seen)
    with connect(host) as connection:  # one login for all looks
        while (state := connection.ask("status", jobs=[job])[0]["state"])["state"] not in ENDS:
            waiting(state)
            time.sleep(_LOOK)
        if state["state"] != "done":
            more = f"`tunelock remote logs {job} --host {host.name}` has all"
            raise Stop(f"{job} on {host.name} is {state['state']}: {state.get('cause')} {more}.")
        fetch_commit(connection, connection.ask("result", jobs=[job])["root"], job, state["commit"])
        connection.ask("forget", jobs=[job])
    return state["commit"]


def _start_job(host: Host, commit: str, seen: Seen) -> str:
    objects = _list_data(commit)
    orders = write_orders(host, Work("verdict", commit, commit, inputs=objects), {f"verdict-{commit[:7]}": []})
    dispatch(host, orders, objects, seen)
    note_jobs(host.name, [orders[0]["id"]])
    return orders[0]["id"]


def _find_job(host: Host, commit: str) -> str | None:
    """A job that makes this commit again and is alive or done."""
    with connect(host) as connection:
        for job in connection.ask("status", jobs=None):
            order = job["order"]
            is_usable = job["state"]["state"] == "done" or job["state"]["state"] not in ENDS
            if order["kind"] == "verdict" and order["snapshot"] == commit and is_usable:
                return order["id"]
    return None


def _list_data(commit: str) -> list[tuple[str, int]]:
    """(path below the cache, bytes) of what .dvc files name, which no stage makes."""
    from dvc.repo import Repo

    with Repo() as repo, repo.switch(commit):
        outs = chain.from_iterable(stage.outs for stage in repo.index.stages if not stage.cmd)
        sources = [out for out in outs if out.use_cache]
        oids: set[str] = set()
        for out in sources:
            for infos in out.get_used_objs().values():
                oids.update(info.value for info in infos)
        root = repo.cache.local
        lacking = [str(out) for out in sources if not root.exists(out.hash_info.value)]
        if lacking:
            raise Stop(
                f"{lacking[0]} of commit {commit[:7]} is not in the cache here; `dvc fetch {lacking[0]}`, then again."
            )
        return [(f"files/md5/{oid[:2]}/{oid[2:]}", root.fs.size(root.oid_to_path(oid))) for oid in sorted(oids)]
