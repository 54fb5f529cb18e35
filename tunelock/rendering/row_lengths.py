"""How long rows are in tokens, and what that says about `max_length`."""

import math
from collections import Counter
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Record
from tunelock.rendering.encoding import TemplateRefusal
from tunelock.rendering.rendering import RefusedRecord, Rendering, render_messages, select_messages
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop

BINS = 16


class _MeasuredRows(NamedTuple):
    """The tokens of each row that the chat template can say, and the rows that it cannot."""

    lengths: list[int]
    refused: list[RefusedRecord]


def measure_row_lengths(
    rows: list[Record], tokenizer: PreTrainedTokenizerBase, rendering: Rendering, name: str
) -> _MeasuredRows:
    """The tokens of each row; `name` is that of the split, for the bar.

    Raises:
        Stop: the template can say none of the rows.
    """
    lengths, refused = [], []
    for row in Bar(rows, desc=f"measure {name}", unit="row"):
        try:
            lengths.append(len(render_messages(tokenizer, select_messages(row, rendering)).input_ids))
        except TemplateRefusal as refusal:
            refused.append(RefusedRecord(row, refusal.reason, str(refusal)))
    if refused and not lengths:
        raise Stop(refused[0].why)
    return _MeasuredRows(lengths, refused)


def compute_percentile(sorted_values: list[int], share: float) -> int:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def summarise_row_lengths(lengths: dict[str, list[int]], max_length: int) -> dict[str, dict]:
    """Figures of each split in tokens; `keeps_95_percent` is the max_length that would keep so many rows."""
    figures = {}
    for name, values in lengths.items():
        ordered = sorted(values)
        figures[name] = {
            "rows_measured": len(ordered),
            "median": compute_percentile(ordered, 0.5),
            "keeps_95_percent": compute_percentile(ordered, 0.95),
            "keeps_99_percent": compute_percentile(ordered, 0.99),
            "longest": ordered[-1],
            "share_above_max_length": sum(value > max_length for value in ordered) / len(ordered),
        }
    return figures


def count_by_length(values: list[int]) -> list[dict]:
    """Rows by length in up to BINS classes of one width, named by their first length."""
    width = max(1, math.ceil((max(values) + 1) / BINS))
    counts = Counter(value // width for value in values)
    return [{"tokens": number * width, "rows": counts[number]} for number in range(max(values) // width + 1)]
