"""Records that the chat template cannot say: set aside, with the reason, file and line of each."""

import sys
from collections.abc import Sequence

from tunelock.records.left_out import LeftOutTally, format_left_out
from tunelock.rendering.rendering import RefusedRecord


def count_refused(refused: Sequence[RefusedRecord]) -> dict[str, int]:
    """How many records were refused, by reason."""
    return dict(sorted(_tally_refused(refused).counts.items()))


def list_refused(refused: Sequence[RefusedRecord]) -> list[dict[str, str | int]]:
    """Where each refused record came from, and why it was refused."""
    return [{key: one.record[key] for key in ("id", "file", "line")} | {"reason": one.reason} for one in refused]


def print_refused(name: str, refused: Sequence[RefusedRecord], rows: int) -> None:
    """Say on stderr which of the `rows` of `name` were refused, if any were."""
    if refused:
        rulings = {one.reason: f"chat_template: {one.why}" for one in refused}
        title = f"{name}: the chat template cannot say"
        print(format_left_out(title, _tally_refused(refused), rows, rulings), file=sys.stderr)


def _tally_refused(refused: Sequence[RefusedRecord]) -> LeftOutTally:
    tally = LeftOutTally()
    for one in refused:
        tally.note_row(one.reason, one.record)
    return tally
