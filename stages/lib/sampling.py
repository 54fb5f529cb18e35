"""The order in which training sees its rows."""

from collections.abc import Iterator

import torch


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
        order = sorted(range(len(self.lengths)), key=lambda i: (self.lengths[i] * (1 + 0.1 * jitter[i]), i))
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        largest = max(shuffled, key=lambda number: max(self.lengths[i] for i in batches[number]))
        for number in [largest, *(number for number in shuffled if number != largest)]:
            yield from batches[number]
