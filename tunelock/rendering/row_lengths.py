"""How long rows are in tokens, and what that says about `max_length`."""

import math
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Record, count_reasoning
from tunelock.rendering.conversation import Rendered, render_messages
from tunelock.rendering.rendering import RefusedRecord, RenderedRow, Rendering, render_records, select_messages
from tunelock.rendering.template import TemplateRefusal
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop

BINS = 16
MOST_LEFT_OUT = 0.5  # share of a held-out split that may be too long; what is measured on the rest stands for it


class _FittingRecords(NamedTuple):
    """The records whose rows fit into `max_length`, those rows, how many do not fit, and what no template can say."""

    records: list[Record]
    rows: list[RenderedRow]
    too_long: int
    refused: list[RefusedRecord]


def keep_fitting_records(
    tokenizer: PreTrainedTokenizerBase, records: list[Record], rendering: Rendering
) -> _FittingRecords:
    """The records that fit, with their rows, in the order that they have."""
    rows, too_long, refused = render_records(tokenizer, records, rendering)
    fitting = {row["id"] for row in rows}
    return _FittingRecords([record for record in records if record["id"] in fitting], rows, len(too_long), refused)


def _render_whole(tokenizer: PreTrainedTokenizerBase, row: Record, rendering: Rendering) -> Rendered:
    return render_messages(tokenizer, select_messages(tokenizer, row, rendering), rendering.thinking)


class _MeasuredRows(NamedTuple):
    """The tokens of each row that the chat template can say, and the rows that it cannot.

    `asides` counts what is not learnt, where anything is: answers that are context, and reasoning that is left out.
    """

    lengths: list[int]
    refused: list[RefusedRecord]
    asides: dict[str, int]


def measure_row_lengths(
    rows: list[Record], tokenizer: PreTrainedTokenizerBase, rendering: Rendering, name: str
) -> _MeasuredRows:
    """The tokens of each row, no context cut; `name` is that of the split, for the bar.

    Raises:
        Stop: the template can say none of the rows.
    """
    lengths, refused, whole = [], [], replace(rendering, long_rows="set_aside")
    asides = Counter[str]()
    for row in Bar(rows, desc=f"measure {name}", unit="row"):
        try:
            rendered = _render_whole(tokenizer, row, whole)
            lengths.append(len(rendered.input_ids))
            asides["answers_not_learnt"] += rendered.answers_not_learnt
            asides["reasoning_left_out"] += count_reasoning(row["messages"]) if rendering.thinking != "keep" else 0
        except TemplateRefusal as refusal:
            refused.append(RefusedRecord(row, refusal.reason, str(refusal)))
    if refused and not lengths:
        raise Stop(f"the chat template can say no row of {name}: {refused[0].why}")
    return _MeasuredRows(lengths, refused, {name: count for name, count in asides.items() if count})


def measure_cuts(rows: list[Record], tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> dict[str, float]:
    """The share of rows whose context is cut, and of those that are left out all the same, if `long_rows` cuts."""
    if rendering.long_rows != "cut_context":
        return {}
    found = render_records(tokenizer, rows, rendering)
    cut = sum(row["context_cut"] > 0 for row in found.rows)
    return {"share_context_cut": cut / len(rows), "share_left_out": len(found.too_long) / len(rows)}


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
