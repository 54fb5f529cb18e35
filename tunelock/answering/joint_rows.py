"""Several answers to one question in one sequence, so that the question is computed once.

The sequence is what the rows begin with, and behind it the rest of each row, as in `tunelock.model.sharing`; there are
several such sequences in a batch, and no rest is padded.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tunelock.model.sharing import build_row_mask
from tunelock.rendering.conversation import IGNORE


class Joint(NamedTuple):
    """The rows of a family as one sequence. `rests` says of each token which row it belongs to, 0 for all of them;
    `places` and `targets` of each row: which tokens are predicted, and from where in the sequence.
    """

    input_ids: list[int]
    position_ids: list[int]
    rests: list[int]
    places: list[list[int]]
    targets: list[list[int]]


def join_rows(rows: Sequence[Mapping[str, Any]]) -> Joint:
    """Join rows with input_ids and labels; a label is predicted from the token before it in its row."""
    first = rows[0]["input_ids"]
    shared = len(first) if len(rows) == 1 else min(_count_shared(first, row["input_ids"]) for row in rows[1:])
    ids, positions, rests = first[:shared], list(range(shared)), [0] * shared
    places, targets = [], []
    for number, row in enumerate(rows, 1):
        where = [*range(shared), *range(len(ids), len(ids) + len(row["input_ids"]) - shared)]
        rest = row["input_ids"][shared:]
        ids, rests = ids + rest, rests + [number] * len(rest)
        positions += range(shared, shared + len(rest))
        labelled = [place for place, label in enumerate(row["labels"]) if label != IGNORE and place]
        places.append([where[place - 1] for place in labelled])
        targets.append([row["labels"][place] for place in labelled])
    return Joint(ids, positions, rests, places, targets)


def _count_shared(one: list[int], other: list[int]) -> int:
    """How many tokens two rows have in common at their start."""
    return next((place for place, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def build_batch(rows: list[Joint]) -> dict[str, torch.Tensor]:
    """What the model is given: input_ids (rows, length), and where rows were joined position_ids and the mask.

    The padding is on the right, where causal attention cannot see it.
    """
    longest = max(len(row.input_ids) for row in rows)
    ids, positions, rests = (
        torch.tensor([[*values, *[0] * (longest - len(values))] for values in (getattr(row, name) for row in rows)])
        for name in ("input_ids", "position_ids", "rests")
    )
    if not rests.any():
        return {"input_ids": ids}
    return {"input_ids": ids, "position_ids": positions, "attention_mask": build_row_mask(rests)}
