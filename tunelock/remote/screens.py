"""What `tunelock remote` shows: what a submission sent, and what came back."""

from tunelock.remote.pull import Pulled
from tunelock.remote.submit import Submission
from tunelock.run.files import read_json
from tunelock.run.terminal import format_duration
from tunelock.run.timings import TIMINGS

_NAMED = 4  # jobs that are named one by one


def describe_submission(host: str, done: Submission) -> str:
    """A few lines on what was sent, what runs, and what to type next."""
    lines = [f"{host}: sent {_describe_size(done.sent)}; {_describe_size(done.there_already)} were there already."]
    if done.inputs.not_here:
        lines.append(f"Made again there, for they are not in the cache here: {', '.join(done.inputs.not_here)}.")
    lines += _describe_work(done)
    lines.append(f"{_join_ids(done.jobs)} registered. What to type next:")
    all_of_them = done.jobs[0] if len(done.jobs) == 1 else _name_sweep(done.jobs)
    lines += [f"  tunelock remote watch {all_of_them}", f"  tunelock remote logs -f {done.jobs[0]}"]
    return "\n".join([*lines, f"  tunelock remote pull {all_of_them}"])


def _describe_work(done: Submission) -> list[str]:
    """Which stages run there, and how long that took where it was last measured."""
    surely, perhaps = done.inputs.will_run, done.inputs.may_run
    if not surely:
        return ["No stage has to run: nothing that one reads has changed."]
    known: dict[str, float] = read_json(TIMINGS) if TIMINGS.exists() else {}
    seconds = sum(known.get(f"{stage}_seconds", 0.0) for stage in (*surely, *perhaps))
    lines = [f"Runs there: {', '.join(surely)}."]
    if perhaps:
        lines.append(f"Runs too where these make something new: {', '.join(perhaps)}.")
    if seconds:
        each = " for each job" if len(done.jobs) > 1 else ""
        took = format_duration(seconds, rounded=True)
        lines.append(f"All of them together took {took}{each} where metrics/timings.json was made.")
    return lines


def _name_sweep(jobs: list[str]) -> str:
    """The name of the sweep whose tasks are NAME-NUMBER-TOKEN."""
    return jobs[0].rsplit("-", 2)[0]


def _join_ids(jobs: list[str]) -> str:
    if len(jobs) <= _NAMED:
        return f"{', '.join(jobs)} {'is' if len(jobs) == 1 else 'are'}"
    return f"{jobs[0]} to {jobs[-1]} ({len(jobs)} jobs) are"


def describe_pulled(found: list[Pulled]) -> str:
    """A line on each experiment that came, and what to type next."""
    lines = [
        f"{one.name} is an experiment here: fetched {_describe_size(one.fetched)} from {one.host}; "
        f"{_describe_size(one.here_already)} were here already."
        for one in found
    ]
    return "\n".join([*lines, "What to type next:", "  dvc exp show", f"  dvc exp apply {found[0].name}"])


def _describe_size(size: int) -> str:
    """`0 B`, `13 kB`, `1.2 MB`, `3.45 GB`."""
    if size < 1000:
        return f"{size} B"
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
