"""What other limits of length would cost on this machine, and which params choose otherwise: for the pilot's no-go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunelock.model.modeling import resolve_dtype
from tunelock.planning.forecast import Machine, Place, change_settings, find_shape, forecast_training
from tunelock.planning.training_rows import RowLength, summarise_lengths
from tunelock.run.errors import Stop
from tunelock.run.files import read_json
from tunelock.run.terminal import format_duration
from tunelock.watching.progress import measure_matmul_rate
from tunelock.watching.shortage import measure_free_memory

CONFIG = Path("models/base/config.json")


def measure_machine(dtype: str) -> Machine:
    """This machine, in the dtype that `dtype` of params.yaml means here."""
    resolved = resolve_dtype(dtype)
    return Machine(resolved, measure_free_memory(), measure_matmul_rate(resolved))


def advise_on_long_rows(figures: Mapping[str, int], lengths: list[RowLength], share: float, long_rows: str) -> str:
    """What to choose where too many rows are too long.

    Args:
        figures: of the train split, as in metrics/lengths.json.
        lengths: of its rows, the long ones too.
        share: of its rows that are left out.
        long_rows: as in params.yaml.
    """
    choices = []
    for percent in (95, 99):
        length = figures[f"keeps_{percent}_percent"]
        choices.append(f"`max_length: {length}` keeps {percent} % ({_describe_cost(length, lengths)})")
    others = [] if long_rows == "cut_context" else ["`long_rows: cut_context` cuts their contexts at a sentence"]
    others.append("`max_record_tokens` drops them in clean")
    others.append(f"`pilot_max_too_long: {min(0.99, round(share + 0.01, 2))}` trains without them")
    if _are_answers_long(lengths):
        others.append("`max_response_chars` drops long answers")
    return f"{', '.join(dict.fromkeys(choices))}. Or choose otherwise: {'; '.join(others)}."


def _describe_cost(max_length: int, lengths: list[RowLength]) -> str:
    """Memory and minutes of a training with the rows up to a length."""
    if CONFIG.exists() and max_length > (seen := read_json(CONFIG).get("max_position_embeddings", max_length)):
        return f"more than the {seen} tokens that the model sees"
    try:
        place = _forecast_here(max_length, lengths)
    except Stop:  # a model of another kind than those whose memory can be counted
        return "its memory is not known for this model"
    needed = f"about {place.needed_gb:.1f} GB of memory"
    if place.seconds is None:
        return f"{needed}, and {place.memory_gb:.1f} GB are free here"
    return f"{needed} and {format_duration(place.seconds, rounded=True)} of training here"


def _forecast_here(max_length: int, lengths: list[RowLength]) -> Place:
    settings: Any = change_settings([f"max_length={max_length}"])
    fitting = [row for row in lengths if row.tokens <= max_length]
    rows = summarise_lengths(fitting, len(fitting), settings, "")
    machine = measure_machine(settings.dtype)
    return forecast_training("", find_shape(None), settings, rows, {}, machine).places[-1]


def _are_answers_long(lengths: list[RowLength]) -> bool:
    """Whether the labelled part is the larger one of the longest tenth of the rows."""
    longest = sorted(lengths)[-max(1, len(lengths) // 10) :]
    return 2 * sum(row.labelled for row in longest) > sum(row.tokens for row in longest)
