"""How jobs stand, for a person: a line for each that fits the terminal, and below it what went wrong, in full."""

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunelock.remote.watch import HostView, JobView, list_job_views
from tunelock.run.terminal import format_duration

_HEAD = ["job", "host", "state", "for", "what it says"]
_SILENT = "no answer"
_STYLES = {"done": "green", "failed": "red", "stopped": "yellow", "running": "bold", _SILENT: "red"}
_LEAST = 12  # characters that are left of the last column
_TOLD = 8  # sentences below the table, the newest jobs'
_ENDED_SHOWN = 20  # jobs that ended and are shown where all are asked for; the newest


class _ShownJobs(NamedTuple):
    """What of the answers is shown, and how many older jobs are not."""

    views: list[HostView]
    left_out: int


def leave_out_old(views: list[HostView]) -> _ShownJobs:
    """All that have not ended, and the newest of those that have."""
    ended = [job for job in list_job_views(views) if job.has_ended]
    old = {job.id for job in sorted(ended, key=_tell_age)[_ENDED_SHOWN:]}
    return _ShownJobs([view._replace(jobs=[job for job in view.jobs if job.id not in old]) for view in views], len(old))


def lay_out_jobs(views: list[HostView], width: int) -> RenderableType:
    """A line for each job, then a sentence on each that did not end well and on each host that does not answer."""
    lines, sentences, faults = [_HEAD], [], []
    for view in views:
        lines += [_list_cells(job) for job in view.jobs]
        sentences += [
            f"{job.id}: {job.state.get('cause') or 'it said nothing'}" for job in view.jobs if has_failed(job)
        ]
        if view.fault:
            lines.append(["", view.host, _SILENT, "", ""])
            faults.append(view.fault)
    shown = [Text(sentence) for sentence in [*sentences[-_TOLD:], *faults]]
    return Group(_align(lines, width), *([Text(""), *shown] if shown else []))


def _align(lines: list[list[str]], width: int) -> Table:
    """A table whose last column alone is cut where the terminal is narrow."""
    table = Table.grid(padding=(0, 2, 0, 0))
    room = width - sum(max(len(line[number]) for line in lines) + 2 for number in range(len(_HEAD) - 1))
    for line in lines:
        news = line[-1] if len(line[-1]) <= max(room, _LEAST) else line[-1][: max(room, _LEAST) - 1] + "…"
        state = Text(line[2], _STYLES.get(line[2], ""))
        table.add_row(*line[:2], state, line[3], news, style="dim" if line is _HEAD else None)
    return table


def print_jobs(views: list[HostView]) -> None:
    """To stdout: as wide as the terminal, and with nothing cut where there is none."""
    console = _make_console()
    console.print(
        lay_out_jobs(views, console.width)
        if any(view.jobs or view.fault for view in views)
        else "No job is known there."
    )


def _make_console() -> Console:
    """stdout; in a pipe a line may be as long as it is."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=10_000)


def show_live(follow: Callable[[Callable[[list[HostView]], None]], list[JobView]]) -> list[JobView]:
    """Show each look that `follow` hands over: a table that changes, or in a pipe a line for each change of state."""
    console = _make_console()
    if not console.is_terminal:
        return follow(_Changes().print)
    with Live(console=console, auto_refresh=False) as live:
        return follow(lambda views: live.update(lay_out_jobs(views, console.width), refresh=True))


class _Changes:
    """What was printed of each job and host, so that only news are."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def print(self, views: list[HostView]) -> None:
        """A line for each job whose state changed, and for each host that fell silent or speaks again."""
        for view in views:
            for job in view.jobs:
                state = job.state["state"]
                self._tell(job.id, f"{state} ({job.state['reason']})" if job.state.get("reason") else state)
            if view.fault or view.host in self.known:
                self._tell(view.host, view.fault or f"{view.host} answers again")

    def _tell(self, name: str, news: str) -> None:
        if self.known.get(name) != news:
            self.known[name] = news
            print(news if news.startswith(name) else f"{name}: {news}", flush=True)


def describe_end(job: JobView) -> str:
    """A line on how a job ended, and what to type next."""
    state = job.state["state"]
    took = f" after {format_duration(job.state['ran_s'], rounded=True)}" if "ran_s" in job.state else ""
    if state == "done":
        return f"{job.id} is done{took}. Fetch it: tunelock remote pull {job.id}"
    return f"{job.id} is {state}{took}: {job.state.get('cause') or 'it said nothing'}"


def has_failed(job: JobView) -> bool:
    """Whether a job ended without a result."""
    return job.has_ended and job.state["state"] != "done"


def _list_cells(job: JobView) -> list[str]:
    return [job.id, job.host, job.state["state"], _tell_time(job), _tell_news(job)]


def _tell_age(job: JobView) -> float:
    return job.state.get("age_s", 0.0)


def _tell_time(job: JobView) -> str:
    """How long it has been so; of what ended, how long it ran."""
    seconds = job.state.get("ran_s" if job.has_ended else "age_s", job.state.get("age_s", 0.0))
    return format_duration(seconds, rounded=True)


def _tell_news(job: JobView) -> str:
    """The reason why it waits, or its last line, with the stage in front."""
    if job.has_ended:
        return ""
    if job.state.get("reason"):
        return job.state["reason"]
    last, stage = job.state.get("last", ""), job.state.get("stage", "")
    return last if not stage or last.startswith(stage) else f"{stage}: {last}"
