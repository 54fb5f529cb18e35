"""The parts of the report, of which `report.html.jinja` makes the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tunelock.report.extremes import Extremes
from tunelock.report.input_views import FunnelStep, Output, StageTime
from tunelock.report.surroundings import Surroundings
from tunelock.report.views import ComparisonRow, FreshEyesRow, Headline, ResultRow, TaskTable


@dataclass(frozen=True, slots=True)
class BothModels:
    """A figure of base and of tuned."""

    title: str
    base: float | None
    tuned: float | None


@dataclass(frozen=True, slots=True)
class SplitComparisons:
    """The comparisons on one split."""

    title: str
    rows: list[ComparisonRow]


@dataclass(frozen=True, slots=True)
class ClaimPart:
    """outcome: `gain` or `no gain`."""

    outcome: str
    headline: Headline
    perplexities: list[BothModels]
    comparisons: list[SplitComparisons]


@dataclass(frozen=True, slots=True)
class GateCheck:
    """A rule of the gate: what was found and the result: passed, failed or undecided."""

    metric: str
    rule: str
    value: str
    result: str
    remark: str


@dataclass(frozen=True, slots=True)
class GatePart:
    """outcome: passed, failed, undecided or `not checked`, then with the reason; base: the revision compared with."""

    base: str
    outcome: str
    checks: list[GateCheck]
    reason: str


@dataclass(frozen=True, slots=True)
class TaskPart:
    """The tasks of one split, a table each."""

    title: str
    chart: Markup
    tables: list[TaskTable]


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """figures: metrics/train.json; numbers: the same for people; verdicts, remedy: metrics/diagnosis.json."""

    figures: dict[str, float]
    numbers: dict[str, str]
    verdicts: list[dict[str, Any]]
    remedy: list[str]
    chart: Markup
    times: list[StageTime]


@dataclass(frozen=True, slots=True)
class TokensPart:
    """lengths: metrics/lengths.json."""

    calibration_chart: Markup
    lengths_chart: Markup
    lengths: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ForgettingPart:
    """retention: metrics/retention.json; tasks: sums of the general rows; rows: those forgotten most."""

    retention: dict[str, float]
    tasks: list[dict[str, Any]]
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True)
class FreshEyesPart:
    """suspicious: sentences."""

    suspicious: list[str]
    rows: list[FreshEyesRow]


@dataclass(frozen=True, slots=True)
class ReviewPart:
    """metrics: metrics/review.json; checks: the shares of each model's answers that passed."""

    metrics: dict[str, Any]
    checks: list[BothModels]


@dataclass(frozen=True, slots=True)
class DataPart:
    """split: metrics/split.json."""

    split: dict[str, Any]
    funnel: list[FunnelStep]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """All that the page says. sections: titles by id; review: None where nobody reviewed these answers."""

    around: Surroundings
    sections: dict[str, str]
    claim: ClaimPart
    gate: GatePart
    results: list[ResultRow]
    tasks: list[TaskPart]
    training: TrainingPart
    tokens: TokensPart
    rows: Extremes
    forgetting: ForgettingPart
    fresh_eyes: FreshEyesPart
    review: ReviewPart | None
    data: DataPart
    params: dict[str, Any]
    written_params: dict[str, str]
    outputs: list[Output]
