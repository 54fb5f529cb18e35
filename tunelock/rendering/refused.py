"""What the chat template cannot say: records set aside with their reason, file and line; answers not learnt."""

import sys
from collections.abc import Sequence

from tunelock.records.left_out import LeftOutTally, format_left_out
from tunelock.rendering.rendering import RefusedRecord, RenderedRow


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


def print_unlearnt(name: str, rows: Sequence[RenderedRow], thinking: str) -> None:
    """Say on stderr how many answers of `name` are not learnt, and how many lost their reasoning, if any did."""
    unlearnt = [row["answers_not_learnt"] for row in rows if row["answers_not_learnt"]]
    if unlearnt:
        print(
            f"{name}: {sum(unlearnt):,} earlier answers in {len(unlearnt):,} rows are read and not learnt, for the "
            "chat template writes them otherwise than the model would be asked for them and answer; to learn them, "
            "make each the last answer of a row of its own, or set a chat_template that writes each turn alike",
            file=sys.stderr,
        )
    thoughts = sum(row["reasoning_left_out"] for row in rows)
    if thoughts:
        print(
            f"{name}: the reasoning of {thoughts:,} answers is left out by thinking: {thinking}; keep learns it",
            file=sys.stderr,
        )


def _tally_refused(refused: Sequence[RefusedRecord]) -> LeftOutTally:
    tally = LeftOutTally()
    for one in refused:
        tally.note_row(one.reason, one.record)
    return tally
