"""What a job does in its clone: exact tree, locked environment, `dvc exp run`, hand-over."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunelock.remote.there.clone import forget_stages, set_up_clone
from tunelock.remote.there.environment import ensure_environment
from tunelock.remote.there.job_files import JobFolder
from tunelock.remote.there.locking import hold
from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.storage_tools import ensure_storage_tools

_LINKS = "reflink,hardlink,symlink,copy"  # what DVC tries, in this order

Say = Callable[[str], None]
Call = Callable[[list[str], dict[str, str]], None]


class _Work:
    """The clone of a job with all that commands there need."""

    def __init__(
        self, folder: JobFolder, order: dict[str, Any], environment: dict[str, str], call: Call, say: Say
    ) -> None:
        self.folder, self.order, self.env, self._call, self.say = folder, order, environment, call, say
        self.clone, self.root = folder.clone, folder.root

    def run(self, *command: str) -> None:
        """A long command, which a person may want to stop."""
        self._call(list(command), self.env)

    def ask(self, *command: str, given: str = "", **variables: str) -> str:
        """The output of a short command that must succeed."""
        done = subprocess.run(
            command, cwd=self.clone, env=self.env | variables, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise Refused(f"`{' '.join(command[:3])}` failed there: {said}")
        return done.stdout

    def ask_module(self, name: str, *arguments: str, given: str = "", more: Path | None = None) -> Any:
        """The JSON that a module of this room prints in the environment of the job, with the packages in `more`."""
        module = f"{__name__.rpartition('.')[0]}.{name}"
        path = os.pathsep.join([sys.path[0], *([str(more)] if more else [])])
        return json.loads(self.ask("python", "-P", "-m", module, *arguments, given=given, PYTHONPATH=path))


def work_in_clone(
    folder: JobFolder, order: dict[str, Any], variables: dict[str, str], call: Call, say: Say
) -> dict[str, Any]:
    """Run the experiment of an order in a fresh clone; facts about its result, for the job's state.

    `variables` are added to the environment; `call` runs a long command.

    Raises:
        Refused: a step failed; the clone is kept.
    """
    shutil.rmtree(folder.clone, ignore_errors=True)
    set_up_clone(folder.root / "repo.git", folder.clone, order["snapshot"], order["head"])
    (folder.path / "ckpt").mkdir(exist_ok=True)
    _link_checkpoints(folder)
    tools = ensure_environment(folder.root, folder.clone, order["python"], order["venv"], say)
    ours = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "TUNELOCK_MACHINE": order["host"]}
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    work = _Work(folder, order, kept | variables | ours, call, say)
    _pass_storage(work, "fetch", order["inputs"])
    facts = _make_again(work) if order["kind"] == "verdict" else _run_experiment(work)
    work.ask("git", "push", "--quiet", "--force", "origin", f"{facts['commit']}:refs/tunelock/results/{folder.id}")
    for path in (folder.clone, folder.path / "ckpt", folder.path / "cache"):
        shutil.rmtree(path, ignore_errors=True)
    return facts


def _link_checkpoints(folder: JobFolder) -> None:
    """Let checkpoints lie beside the clone, whatever git has or ignores in their place."""
    place = folder.clone / ".ckpt"
    shutil.rmtree(place, ignore_errors=True)
    place.symlink_to(folder.path / "ckpt")
    information = folder.clone / ".git/info"
    information.mkdir(exist_ok=True)
    (information / "exclude").write_text("/.ckpt\n", encoding="utf-8")


def _run_experiment(work: _Work) -> dict[str, Any]:
    """`dvc exp run` with the cache of the host; what belongs to the result is listed for `pull`."""
    order = work.order
    _configure(work, work.root / "cache")
    forget_stages(work.clone, order["made_again"])
    if order["common"]:
        with hold(work.root / "locks/common.lock", lambda: work.say("waits for what the tasks of this sweep share")):
            _run_common(work)
    sets = [f"--set-param={override}" for override in order["overrides"]]
    work.run("dvc", "exp", "run", "--name", order["name"], "--allow-missing", *sets)
    ref, commit = _find_experiment(work)
    objects = work.ask_module("used_objects")
    (work.folder.path / "objects.json").write_text(json.dumps(objects), encoding="utf-8")
    _pass_storage(work, "push", objects)
    return {"exp": ref, "commit": commit, "link_type": _name_links(work.clone)}


def _run_common(work: _Work) -> None:
    """Run the stages that all tasks of a sweep share; who comes second finds them in the run cache."""
    files = work.ask_module("set_params", given=json.dumps(work.order["overrides"]))
    work.run("dvc", "checkout", "--quiet", "--allow-missing")  # `dvc exp run` does so itself, `dvc repro` does not
    work.run("dvc", "repro", "--allow-missing", *work.order["common"])
    work.ask("git", "checkout-index", "--force", "--", *files)


def _make_again(work: _Work) -> dict[str, Any]:
    """Run every stage of a locked experiment with nothing in the cache but data that no stage makes."""
    cache = work.folder.path / "cache"
    for path, _ in work.order["inputs"]:
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        if not (cache / path).exists():
            shutil.copy2(work.root / "cache" / path, cache / path)
    _configure(work, cache)
    work.run("dvc", "checkout", "--quiet", "--allow-missing")  # of that data: `dvc repro` does not do so itself
    work.run("dvc", "repro", "--force")
    work.ask("git", "add", "--all")
    work.ask("git", "commit", "--quiet", "--allow-empty", "--no-verify", "-m", f"made again on {work.order['host']}")
    return {"commit": work.ask("git", "rev-parse", "HEAD").strip()}


def _configure(work: _Work, cache: Path) -> None:
    """Write the settings of this clone at once: `dvc config` would take a second for each."""
    quote = "'" if '"' in str(cache) else '"'
    settings = f'[core]\n    analytics = false\n[cache]\n    dir = {quote}{cache}{quote}\n    type = "{_LINKS}"\n'
    (work.clone / ".dvc/config.local").write_text(settings, encoding="utf-8")


def _pass_storage(work: _Work, verb: str, objects: list[list[Any]]) -> None:
    """Fetch or push objects where home and host share a storage."""
    url, cache = work.order["storage"], str(work.root / "cache")
    if url and objects:
        python = Path(work.env["PATH"].split(os.pathsep)[0], "python")
        more = ensure_storage_tools(work.root, work.clone, python, work.say) if url.startswith("s3://") else None
        moved = work.ask_module("stored_objects", verb, url, cache, given=json.dumps(objects), more=more)
        there = f"{moved['there_already'] / 1e6:.1f} MB were there already"
        work.say(f"{verb} {url}: {moved['size'] / 1e6:.1f} MB; {there}")


def _find_experiment(work: _Work) -> tuple[str, str]:
    """Ref and commit of what `dvc exp run` made."""
    name = work.order["name"]
    for line in work.ask("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").splitlines():
        ref, commit = line.split()
        if ref.endswith(f"/{name}"):
            return ref, commit
    raise Refused(f"`dvc exp run` made no experiment '{name}'; `tunelock remote logs {work.folder.id}` shows why.")


def _name_links(clone: Path) -> str:
    """How the clone's files hang on the cache; a reflink cannot be told from a copy by a look."""
    for path in clone.rglob("*"):
        if path.is_symlink() and "cache" in os.readlink(path):
            return "symlink"
        if path.is_file() and ".dvc" not in path.parts and ".git" not in path.parts and path.stat().st_nlink > 1:
            return "hardlink"
    return "reflink or copy"
