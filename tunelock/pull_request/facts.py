"""Everything that the comment on a pull request is made of."""

from typing import NamedTuple

from tunelock.pull_request.likeness import Likeness
from tunelock.pull_request.pairing import Comparison, PairedRows
from tunelock.pull_request.thresholds import GateLine, MetricsDiff, ValuePair


class Facts(NamedTuple):
    """What two commits hold, BASE and this one.

    base, base_commit, here: the revision as it was asked for, its 40 digits, and the name of what it is compared with.
    level: of every interval.
    params, metrics: as `dvc params diff --json` and `dvc metrics diff --json --all` have them.
    comparisons, pairs: row by row, or unpaired_because says why not.
    base_claims, claims: metrics/claims.json of BASE and of this commit, {} for none.
    gate, gate_note: its lines, and a remark.
    charts: title by file name; charts_at: a link to them, if they are elsewhere; undrawn: why a chart is not there.
    likeness: what of both can be compared.
    """

    base: str
    base_commit: str
    here: str
    level: float
    params: dict[str, dict[str, ValuePair]]
    metrics: MetricsDiff
    comparisons: list[Comparison]
    pairs: PairedRows | None
    unpaired_because: str
    base_claims: dict
    claims: dict
    gate: list[GateLine]
    gate_note: str
    charts: dict[str, str]
    charts_at: str | None
    undrawn: tuple[str, ...] = ()
    likeness: Likeness = Likeness()
