"""Which rows are computed together: some of similar length, so that little of it is padding."""

from collections.abc import Iterator

from tunelock.run.bars import Bar

SIMILAR = 0.8  # of the longest row of a group; where rows vary, half of what is computed would be padding without it


def group_similar(lengths: list[int], most: int) -> Iterator[range]:
    """Cut rows, in their order, into groups of at most `most`, none of them shorter than `SIMILAR` of the longest."""
    first = 0
    while first < len(lengths):
        low = high = lengths[first]
        end = first + 1
        while end < min(first + most, len(lengths)):
            low, high = min(low, lengths[end]), max(high, lengths[end])
            if low < SIMILAR * high:
                break
            end += 1
        yield range(first, end)
        first = end


def iterate_batches(lengths: list[int], batch_size: int, label: str) -> Iterator[list[int]]:
    """Yield the indices of rows in batches of similar length, the longest first, behind a progress bar."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    with Bar(total=len(order), desc=label, unit="row", disable=not order) as bar:
        for group in group_similar([lengths[i] for i in order], batch_size):
            yield [order[i] for i in group]
            bar.update(len(group))
