"""The same function over all lines of a large file, on every core, in the order of the file and in little memory."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from tunelock.run.bars import Bar

CHUNK = 2**20  # bytes of a task: large against the cost of sending it, small against memory
Result = TypeVar("Result")


def cut_chunks(path: Path | str, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) byte positions that cut a file at its newlines."""
    end, start = os.path.getsize(path), 0
    with open(path, "rb") as file:
        while start < end:
            file.seek(start + size)
            file.readline()
            stop = min(file.tell(), end)
            yield start, stop
            start = stop


def _read_lines(path: Path | str, start: int, stop: int) -> list[bytes]:
    """The lines between two positions that `cut_chunks` gave, each with its newline."""
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(stop - start).splitlines(keepends=True)


def map_lines(function: Callable[[list[bytes]], Result], path: Path | str, title: str) -> Iterator[Result]:
    """Yield `function(lines)` for each chunk of a file, in order, with a bar that tells the time left.

    `function` must be picklable; a small file is not worth the start of other processes.
    """
    pieces = list(cut_chunks(path))
    jobs = min(os.cpu_count() or 1, len(pieces) // 4 or 1)
    run = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs")
    results = run(delayed(_apply_to_chunk)(function, path, piece) for piece in pieces)
    with Bar(total=os.path.getsize(path), unit="B", desc=title) as bar:
        for (start, stop), result in zip(pieces, results):
            bar.update(stop - start)
            yield result
    if jobs > 1:  # or they would idle on for minutes, and keep their memory
        get_reusable_executor().shutdown(wait=True)


def _apply_to_chunk(function: Callable[[list[bytes]], Result], path: Path | str, piece: tuple[int, int]) -> Result:
    """One task."""
    return function(_read_lines(path, *piece))
