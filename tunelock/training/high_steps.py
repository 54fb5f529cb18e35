"""The steps whose loss stands out, with the rows that they trained on: who asks what a spike was made of finds them."""

import math
from statistics import median
from typing import TypedDict

from tunelock.training.batches import LengthGroupedSampler

NEIGHBOURS = 7  # steps on each side that a step is compared with
MOST = 20  # steps that are kept: more spikes than that are no matter of single rows


class HighStep(TypedDict):
    """An optimiser step, its loss in nats a token, and the ids of its rows."""

    step: int
    loss: float
    rows: list[str]


def list_high_steps(
    log: list[dict], row_ids: list[str], sampler: LengthGroupedSampler, accumulation: int
) -> list[HighStep]:
    """The MOST steps that are highest above their neighbours, by step, those without a finite loss first of all.

    Args:
        log: rows of models/train/log.json.
        row_ids: the ids of the rows that were trained on, by their number; of packed rows several with commas.
        sampler: the order in which they were drawn.
        accumulation: batches an optimiser step.
    """
    rows = [row for row in log if "loss" in row]
    losses = [row["loss"] for row in rows]
    order = sorted(range(len(rows)), key=lambda place: (-_measure_height(losses, place), place))
    found = []
    for place in sorted(order[:MOST]):
        ids = [row_ids[number] for number in list_step_rows(sampler, accumulation, rows[place]["step"])]
        found.append(HighStep(step=rows[place]["step"], loss=losses[place], rows=", ".join(ids).split(", ")))
    return found


def _measure_height(losses: list[float], place: int) -> float:
    """By how much a loss is above the median of its neighbours."""
    around = losses[max(0, place - NEIGHBOURS) : place] + losses[place + 1 : place + 1 + NEIGHBOURS]
    if not math.isfinite(losses[place]):
        return math.inf
    return losses[place] - median(around or [losses[place]])


def list_step_rows(sampler: LengthGroupedSampler, accumulation: int, step: int) -> list[int]:
    """The numbers of the rows of an optimiser step, the first of which is 1. An epoch's last step may be smaller."""
    size = sampler.batch_size * accumulation
    epoch, place = divmod(step - 1, math.ceil(len(sampler) / size))
    sampler.set_epoch(epoch)
    return list(sampler)[place * size : (place + 1) * size]
