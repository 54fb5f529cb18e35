"""Is dvc.lock what the code, the params and the metrics in git come from? Answered without the data."""

from tunelock.run.errors import Stop
from tunelock.run.revisions import find_ignored_paths, run_dvc_json, run_git

LOCK = "dvc.lock"
NOT_HERE = ("deleted", "not in cache")  # a clone without the data: nothing of it can be compared


def refuse_tracked_cache() -> None:
    """Stop if git tracks a file of DVC's own folder: DVC unpickles `.dvc/tmp`, so it could be made to run anything."""
    tracked = run_git("ls-files", "--", ":(icase).dvc/tmp", ":(icase).dvc/cache").split("\n")[0]
    if tracked:
        raise Stop(f"git tracks {tracked}, which DVC would load as code; remove it with `git rm --cached`.")


def stale_entries() -> list[str]:
    """What differs from dvc.lock, a line each such as `judge: metrics/evaluate.json modified`; sorted.

    A file that is not here counts only if git is to hold it: data and models of another clone are not missed.
    """
    refuse_tracked_cache()
    found = entries(run_dvc_json("status"))
    ignored = find_ignored_paths([path for _, path, state in found if state in NOT_HERE])
    return sorted(
        f"{stage}: {path} {state}".replace("  ", " ")
        for stage, path, state in found
        if state not in NOT_HERE or not (path in ignored or state == "not in cache")
    )


def entries(status: dict) -> list[tuple[str, str, str]]:
    """(stage, path, state) of what `dvc status --json` reports; a changed params file has a path for each key."""
    found = []
    for stage, reports in status.items():
        for report in reports:
            kinds = report.values() if isinstance(report, dict) else [{"": report}]
            for path, state in (pair for kind in kinds for pair in kind.items()):
                keys = state.items() if isinstance(state, dict) else [("", state)]
                found += [(stage, f"{path}:{key}".strip(":"), told) for key, told in keys]
    return found
