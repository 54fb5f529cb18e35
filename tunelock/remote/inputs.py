"""What a run needs of DVC's cache on a host, and no more: the data that its stages read and nothing makes there."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunelock.remote.missing_there import refuse_missing_there, refuse_unmakeable
from tunelock.remote.run_forecast import RunForecast, name_path, name_stage
from tunelock.remote.snapshot import Snapshot
from tunelock.remote.trial_clone import open_trial_clone, override_params
from tunelock.run.errors import Stop

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo


class CacheObject(NamedTuple):
    """An object by its path below the cache, such as files/md5/ab/cdef….dir, and its bytes."""

    path: str
    size: int


class Inputs(NamedTuple):
    """What a run needs there, and what becomes of each stage.

    `not_here` are outs that are needed and that this cache lacks. The stages in `made_again` make them: the host takes
    their entries out of dvc.lock before it runs (`forget_stages`). `may_run` are stages that run if one before them
    writes something new; those in `taken` stay as dvc.lock has them.
    """

    objects: tuple[CacheObject, ...]
    not_here: tuple[str, ...]
    made_again: tuple[str, ...]
    will_run: tuple[str, ...]
    may_run: tuple[str, ...]
    taken: tuple[str, ...]

    @property
    def size(self) -> int:
        """The bytes of all objects."""
        return sum(item.size for item in self.objects)


def list_inputs(
    tasks: Sequence[Sequence[str]], snapshot: Snapshot, allowed: Sequence[str] = (), again: Sequence[str] = ()
) -> Inputs:
    """What the runs of a snapshot need together, one for the overrides of each task (`dvc exp run -S`); `[[]]` is one.

    DVC is asked in a clone of the snapshot, so the workspace stays as it is. Paths that match a glob of `allowed` are
    not missed on the host. The stages in `again` are made again there although their outs are here, such as `base`
    where the host fetches a model sooner than it is sent.

    Raises:
        Stop: the host would lack something or run on other data than this workspace has, each by name.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    found = []
    try:
        with open_trial_clone(snapshot) as (home, clone, settings):
            for task in tasks:
                with override_params(clone, task), Repo(str(clone), config=settings) as there:
                    found.append(_find_inputs(home, there, allowed, again))
    except DvcException as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise Stop(f"DVC cannot read this project ({reason}); `dvc status` says more.") from None
    return _join_inputs(found)


def _find_inputs(home: "Repo", there: "Repo", allowed: Sequence[str], again: Sequence[str]) -> Inputs:
    forecast, not_here = _settle_forecast(home, there, again)
    refuse_missing_there(home, forecast, allowed)
    objects = {_name_object(out, out.hash_info.value) for out in forecast.list_opened()}
    for out in forecast.list_needed():
        objects |= set(_list_objects(out))
    return _make_inputs(forecast, objects, not_here)


def _settle_forecast(home: "Repo", there: "Repo", names: Sequence[str]) -> tuple[RunForecast, list["Output"]]:
    """The forecast with which all that is needed is here or is made there, and the outs that this cache lacks."""
    again = {stage for stage in there.index.stages if name_stage(stage) in names}
    not_here: list[Output] = []
    while True:
        forecast = RunForecast(there, again)
        lacking = [out for out in forecast.list_needed() if not _is_here(out)]
        lacking += [out for out in forecast.list_opened() if not out.cache.exists(out.hash_info.value)]
        if not lacking:
            return forecast, not_here
        refuse_unmakeable(home, lacking)
        not_here += lacking
        again |= {out.stage for out in lacking}


def _make_inputs(forecast: RunForecast, objects: set[CacheObject], not_here: list["Output"]) -> Inputs:
    steps = [stage for stage in forecast.steps if stage.cmd]
    return Inputs(
        objects=tuple(sorted(objects)),
        not_here=tuple(name_path(out) for out in not_here),
        made_again=tuple(name_stage(stage) for stage in steps if stage in forecast.forgotten),
        will_run=tuple(name_stage(stage) for stage in steps if stage in forecast.surely),
        may_run=tuple(name_stage(stage) for stage in steps if stage in forecast.perhaps),
        taken=tuple(name_stage(stage) for stage in steps if not forecast.runs(stage)),
    )


def _join_inputs(parts: list[Inputs]) -> Inputs:
    """The inputs of several tasks together; a stage is where the first of `will_run`, `may_run`, `taken` has it."""
    will, may = _join([part.will_run for part in parts]), _join([part.may_run for part in parts])
    taken = _join([part.taken for part in parts])
    return Inputs(
        objects=tuple(sorted(set().union(*(part.objects for part in parts)))),
        not_here=_join([part.not_here for part in parts]),
        made_again=_join([part.made_again for part in parts]),
        will_run=will,
        may_run=tuple(stage for stage in may if stage not in will),
        taken=tuple(stage for stage in taken if stage not in (*will, *may)),
    )


def _join(lists: list[tuple[str, ...]]) -> tuple[str, ...]:
    """What stands in any of the lists, once."""
    return tuple(dict.fromkeys(chain.from_iterable(lists)))


def _is_here(out: "Output") -> bool:
    """Whether all of an out lies in the cache, or it is a file of git that the clone has."""
    if not out.use_cache:
        return bool(out.exists)
    return bool(out.hash_info) and not out.changed_cache()


def _list_objects(out: "Output") -> Iterator[CacheObject]:
    """The objects of an out; a folder has one for itself and one for each of its files."""
    from dvc_data.hashfile.tree import Tree

    if out.use_cache:
        yield _name_object(out, out.hash_info.value)
        found = out.get_obj()
        for _, _, info in found if isinstance(found, Tree) else ():
            yield _name_object(out, info.value)


def _name_object(out: "Output", name: str) -> CacheObject:
    path = Path(out.cache.oid_to_path(name))
    root = Path(out.repo.cache.local_cache_dir)
    return CacheObject(path.relative_to(root).as_posix(), path.stat().st_size)
