"""Is dvc.lock what the code, the params and the metrics in git come from? Answered without the data."""

from typing import NamedTuple

from tunelock.run.errors import Stop
from tunelock.run.revisions import find_ignored_paths, run_dvc_json, run_git

LOCK = "dvc.lock"
NOT_HERE = ("deleted", "not in cache")  # a clone without the data: nothing of it can be compared


def refuse_tracked_cache() -> None:
    """Stop if git tracks a file of DVC's own folder: DVC unpickles `.dvc/tmp`, so it could be made to run anything."""
    tracked = run_git("ls-files", "--", ":(icase).dvc/tmp", ":(icase).dvc/cache").split("\n")[0]
    if tracked:
        raise Stop(f"git tracks {tracked}, which DVC would load as code; remove it with `git rm --cached`.")


class _Entry(NamedTuple):
    """What DVC reports of a stage: a path (of params with the key behind a colon) and its state, such as `modified`."""

    stage: str
    path: str
    state: str


def list_stale() -> list[str]:
    """What differs from dvc.lock, a line each such as `metrics: metrics/evaluate.json modified`; sorted.

    A file that is not here counts only if git is to hold it: data and models of another clone are not missed.
    """
    refuse_tracked_cache()
    entries = _read_status(run_dvc_json("status"))
    ignored = find_ignored_paths([entry.path for entry in entries if entry.state in NOT_HERE])
    stale = []
    for stage, path, state in entries:
        if state not in NOT_HERE or not (path in ignored or state == "not in cache"):
            stale.append(f"{stage}: {path} {state}".replace("  ", " "))
    return sorted(stale)


def _read_status(status: dict) -> list[_Entry]:
    """What `dvc status --json` reports; a changed params file has a path for each key."""
    entries = []
    for stage, reports in status.items():
        for report in reports:
            kinds = report.values() if isinstance(report, dict) else [{"": report}]
            for kind in kinds:
                for path, state in kind.items():
                    states = state if isinstance(state, dict) else {"": state}
                    entries += [_Entry(stage, f"{path}:{key}".strip(":"), state) for key, state in states.items()]
    return entries
