"""Is a run that was made again the same? Identical, within measured noise, or different, and where it begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from tunelock.remote.environment_diff import EnvironmentDifference, compare_environments, name_machine
from tunelock.remote.repeats import FEWEST, RepeatRange, is_number, measure_repeat_range, select_like
from tunelock.remote.run_record import EditedFile, LockedStage, RunRecord, is_part

IDENTICAL, WITHIN_NOISE, DIFFERENT = "identical", "within measured noise", "different"


class MetricDifference(NamedTuple):
    """A metric whose value is another one; spread: of the repeats, None where there are not enough."""

    name: str
    theirs: Any
    again: Any
    spread: RepeatRange | None

    @property
    def is_noise(self) -> bool:
        """Whether repeats differ as much."""
        return self.spread is not None and is_number(self.theirs) and self.spread.covers(self.theirs)


class StageComparison(NamedTuple):
    """A stage of both runs: the keys and paths of what differs. missing: the run that lacks the stage."""

    stage: str
    missing: str | None
    params: tuple[str, ...]
    code: tuple[str, ...]
    inputs: tuple[str, ...]
    outs: tuple[str, ...]
    metrics: tuple[MetricDifference, ...]

    @property
    def diverges(self) -> bool:
        """Whether another result came out."""
        return bool(self.missing or self.outs or self.metrics)


@dataclass(frozen=True)
class Verdict:
    """The answer, why in a sentence, and what it rests on.

    first: the first stage whose result differs; cause: where that comes from; repeats: how many of the same run on the
    same kind of hardware were compared with.
    """

    word: str
    reason: str
    first: str | None
    cause: str | None
    edited: tuple[EditedFile, ...]
    stages: tuple[StageComparison, ...]
    environment: tuple[EnvironmentDifference, ...]
    repeats: int
    where: tuple[str, str]


def compare_runs(theirs: RunRecord, again: RunRecord, repeats: Sequence[RunRecord] = ()) -> Verdict:
    """Compare a run with the same one made again; timings are not compared.

    Args:
        repeats: runs among which those of the same run on the hardware of `again` say what noise is.
    """
    like = select_like(again, repeats)
    comparable = [*like, again] if len(like) >= FEWEST else []
    names = [*theirs.stages, *(name for name in again.stages if name not in theirs.stages)]
    stages = tuple(_compare_stage(name, theirs, again, comparable) for name in names)
    environment = tuple(compare_environments(theirs, again))
    first = next((stage for stage in stages if stage.diverges), None)
    word, reason = _judge(theirs, stages, len(like))
    known = any(run.stages[first.stage].machine for run in (theirs, again) if first and first.stage in run.stages)
    cause = _find_divergence(first, environment, theirs.edited, known) if first else None
    name = first.stage if first else None
    edited, where = tuple(theirs.edited), (name_machine(theirs), name_machine(again))
    return Verdict(word, reason, name, cause, edited, stages, environment, len(like), where)


def _compare_stage(name: str, theirs: RunRecord, again: RunRecord, known: Sequence[RunRecord]) -> StageComparison:
    one, other = theirs.stages.get(name), again.stages.get(name)
    if one is None or other is None:
        return StageComparison(name, "the run" if one is None else "its repetition", (), (), (), (), ())
    code = _list_differing(one.code | {"command": one.command}, other.code | {"command": other.command})
    params, inputs = _list_differing(one.params, other.params), _list_differing(one.inputs, other.inputs)
    metrics = _compare_metrics(one, other, name, known)
    return StageComparison(name, None, params, code, inputs, _list_differing(one.outs, other.outs), metrics)


def _list_differing(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    """The keys that only one of the two has, or with another value."""
    return tuple(sorted(key for key in one.keys() | other.keys() if key not in one or one[key] != other.get(key, ())))


def _compare_metrics(
    one: LockedStage, other: LockedStage, stage: str, known: Sequence[RunRecord]
) -> tuple[MetricDifference, ...]:
    found = []
    for name in _list_differing(one.metrics, other.metrics):
        spread = measure_repeat_range(stage, name, known)
        found.append(MetricDifference(name, one.metrics.get(name), other.metrics.get(name), spread))
    return tuple(found)


def _judge(theirs: RunRecord, stages: Sequence[StageComparison], repeats: int) -> tuple[str, str]:
    """The word, and the sentence that says why."""
    if theirs.edited:
        files = ", ".join(f"{one.path} (stage {one.stage})" for one in theirs.edited)
        return DIFFERENT, f"What git holds is not what dvc.lock says was made: {files} was changed afterwards."
    different = [stage for stage in stages if stage.diverges]
    if not different:
        return IDENTICAL, "Every out of every stage has the same md5, and the metrics are the same."
    if any(stage.missing or stage.params or stage.code for stage in stages) or _find_given_inputs(stages):
        return DIFFERENT, "Outs or metrics differ, and so does what they were made from."
    if repeats < FEWEST:
        made = f"{repeats or 'no'} repeat{'s were' if repeats != 1 else ' was'} made on this kind of hardware"
        return DIFFERENT, f"Outs or metrics differ; {made}, so nothing is called noise."
    metrics = chain.from_iterable(stage.metrics for stage in different)
    beyond = [metric.name for metric in metrics if not metric.is_noise]
    if beyond:
        more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        return DIFFERENT, f"{beyond[0]}{more} is farther from {repeats} repeats here than they are from each other."
    return (
        WITHIN_NOISE,
        f"Bits differ, and no metric is farther from {repeats} repeats here than they are from each other.",
    )


def _find_given_inputs(stages: Sequence[StageComparison]) -> list[str]:
    """The inputs that differ though no stage made them."""
    made = set(chain.from_iterable(stage.outs for stage in stages))
    differing = set(chain.from_iterable(stage.inputs for stage in stages))
    return sorted(path for path in differing if not is_part(path, made))


def _find_divergence(
    first: StageComparison, environment: Sequence[EnvironmentDifference], edited: Sequence[EditedFile], known: bool
) -> str:
    """Where the first difference comes from: a hand, what went into the stage, or else the machine it ran on."""
    if not first.outs and (changed := [one.path for one in edited if one.stage == first.stage]):
        return f"{', '.join(changed)} was changed after {first.stage} had made it; its outs are the same."
    if first.missing:
        return f"{first.stage} is not in dvc.lock of {first.missing}."
    given = {"params differ": first.params, "code differs": first.code, "inputs differ": first.inputs}
    unlike = [f"its {what} ({', '.join(keys)})" for what, keys in given.items() if keys]
    if unlike:
        return f"{first.stage} is the first stage with another result, and {'; '.join(unlike)}."
    start = f"{first.stage} is the first stage with another result. Its params, code and inputs are the same"
    facts = [f"{one.what}: {one.theirs}, now {one.again}" for one in environment if first.stage in one.stages]
    if not known:
        return f"{start}. Nothing was recorded of the machines, so it cannot be told where that comes from."
    if not facts:
        return f"{start}, and nothing that was recorded of the machines differs: the stage itself gives other bits."
    return f"{start}, so the cause lies in its machine or packages ({'; '.join(facts)})."
