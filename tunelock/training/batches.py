"""Which rows meet in a batch, in which order, and how a batch becomes tensors."""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from tunelock.rendering.conversation import IGNORE

JITTER = 0.03  # of the lengths by which rows are sorted; 0.1 would pad 2 % more of 640 rows of 60 to 300 tokens


class LengthGroupedSampler(torch.utils.data.Sampler):
    """Yield the indices of rows so that each run of `batch_size` holds rows of similar length.

    The batch with the longest row comes first, so that memory is taken, or found wanting, at step 1. The others
    come in random order (transformers' `group_by_length` walks from long to short, and the loss with it). Which
    rows meet and in what order follows from `seed` and the epoch alone, so a resumed run sees what an
    uninterrupted one does.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        jitter = torch.rand(len(self.lengths), generator=generator).tolist()
        order = sorted(range(len(self.lengths)), key=lambda i: (self.lengths[i] * (1 + JITTER * jitter[i]), i))
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        largest = max(shuffled, key=lambda number: max(self.lengths[i] for i in batches[number]))
        for number in [largest, *(number for number in shuffled if number != largest)]:
            yield from batches[number]


def assign_packs(lengths: list[int], max_length: int) -> list[list[int]]:
    """Rows, by index, that share a sequence of at most `max_length` tokens: best-fit decreasing (Johnson 1973).

    TRL packs so too (`packing_strategy="bfd"`). Which rows meet depends on their lengths and order alone.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, number of the pack), ascending
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect.bisect_left(room, (lengths[row], -1))
        left, number = room.pop(place) if place < len(room) else (max_length, len(packs))
        if number == len(packs):
            packs.append([])
        packs[number].append(row)
        bisect.insort(room, (left - lengths[row], number))
    return packs


def pack_rows(rows: Sequence[Mapping[str, Any]], max_length: int) -> list[dict]:
    """Rows joined into sequences. `position_ids` start anew with each, by which attention keeps them apart."""
    packs = assign_packs([len(row["input_ids"]) for row in rows], max_length)
    return [join_rows(list(map(rows.__getitem__, members))) for members in packs]


def join_rows(rows: Sequence[Mapping[str, Any]]) -> dict:
    """Several rendered rows as one sequence; the first token of each is predicted from nothing, so it has no label."""
    sequence: dict[str, Any] = {
        "id": ", ".join(row["id"] for row in rows),
        "input_ids": [],
        "labels": [],
        "position_ids": [],
    }
    weights = []
    for row in rows:
        size = len(row["input_ids"])
        sequence["input_ids"] += row["input_ids"]
        sequence["labels"] += [IGNORE, *row["labels"][1:]]
        sequence["position_ids"] += range(size)
        weights += [row.get("weight", 1.0)] * size
    return {**sequence, "weights": weights} if any("weight" in row for row in rows) else sequence


def make_dataset(rows: Sequence[Mapping[str, Any]]) -> Dataset:
    """What the collator takes of rendered rows; `weight` is how much each label of a row counts."""
    columns = ("input_ids", "labels", "position_ids", "weights")
    found = []
    for number, row in enumerate(rows):
        weights = {"weights": [row["weight"]] * len(row["labels"])} if "weight" in row else {}
        found.append({key: row[key] for key in columns if key in row} | weights | {"row": number})
    return Dataset.from_list(found)


class Collator:
    """Rows to tensors of shape (rows, longest row), padded on the right.

    Beside input_ids and labels: `row`, the number of each row in the data set; position_ids where rows are packed;
    `weights` of the labels where tasks weigh differently.
    """

    def __init__(self, pad_id: int):
        self.pads = {"input_ids": pad_id, "labels": IGNORE, "position_ids": 0, "weights": 0.0}

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        batch = {}
        for key, pad in self.pads.items():
            if key in rows[0]:
                batch[key] = torch.tensor([[*row[key], *[pad] * (longest - len(row[key]))] for row in rows])
        batch["labels"][:, 0] = IGNORE  # nothing comes before the first token, and transformers counts labels
        return batch | {"row": torch.tensor([row["row"] for row in rows])}
