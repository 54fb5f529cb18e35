"""What is compared of rows when data is split: hashes, MinHash signatures and word n-grams, read once from a file."""

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from stages.lib.near import WIDTH, signatures
from stages.lib.ngrams import ngram_hashes, words
from stages.lib.parallel import map_lines
from stages.lib.records import answer, folded, hash64, number_of, question, whole_text

SAYING = 8  # words
NGRAM = 13  # words; Brown et al. 2020 (https://arxiv.org/abs/2005.14165), appendix C


class Features(NamedTuple):
    """What is known of n rows. `hashes` is uint64 (n, 4): id, group, question, answer; 0 where there is none, or
    where an answer has fewer than SAYING words: labels say nothing about each other.

    `whole` and `answers` are MinHash signatures (n, WIDTH); `ngrams` a file with the hashes of the word n-grams of
    all rows, those of row i from `ends[i - 1]` to `ends[i]`; `lines` n + 1 byte positions in the file of the records.
    """

    hashes: np.ndarray
    tasks: list[str]
    sources: list[str]
    whole: np.ndarray
    answers: np.ndarray
    ngrams: BinaryIO
    ends: np.ndarray
    lines: np.ndarray
    path: Path

    def text(self, row: int) -> str:
        """The whole text of a row, read again from its file."""
        return whole_text(self.record(row))

    def record(self, row: int) -> dict:
        """A row, read again from its file."""
        with open(self.path, "rb") as file:
            file.seek(self.lines[row])
            return json.loads(file.read(self.lines[row + 1] - self.lines[row]))

    def grams(self, row: int) -> np.ndarray:
        """The n-gram hashes of a row, sorted."""
        start, end = self.ends[row - 1] if row else 0, self.ends[row]
        return np.frombuffer(os.pread(self.ngrams.fileno(), 8 * (end - start), 8 * start), np.uint64)


def features(path: Path, folder: Path) -> Features:
    """Read what is compared from the records of a file; the large arrays go to files in `folder`, not into memory."""
    names = ("hashes", "whole", "answers", "ngrams")
    tasks, sources, counts, sizes = [], [], [np.zeros(0, int)], [0]
    files = {name: open(folder / f"{name}.tmp", "wb") for name in names}  # noqa: SIM115 — closed below
    for found in map_lines(examine, path, "compare"):
        for name in names:
            found[name].tofile(files[name])
        tasks += map(sys.intern, found["tasks"])  # one string a task, not one a row
        sources += map(sys.intern, found["sources"])
        counts.append(found["counts"])
        sizes += found["sizes"]
    for file in files.values():
        file.close()
    return Features(
        np.fromfile(folder / "hashes.tmp", np.uint64).reshape(-1, 4),
        tasks,
        sources,
        mapped(folder / "whole.tmp", np.uint16).reshape(-1, WIDTH),
        mapped(folder / "answers.tmp", np.uint16).reshape(-1, WIDTH),
        open(folder / "ngrams.tmp", "rb"),
        np.cumsum(np.concatenate(counts)),
        np.cumsum(sizes),
        path,
    )


def mapped(path: Path, dtype: type) -> np.ndarray:
    """The array in a file, left there; an empty file cannot be mapped."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


def examine(lines: list[bytes]) -> dict:
    """The features of some lines, in the arrays of `Features` and as lists."""
    records = [json.loads(line) for line in lines]
    texts, answers = [whole_text(record) for record in records], [answer(record) for record in records]
    grams = [ngram_hashes(text, NGRAM) for text in texts]
    return {
        "hashes": np.array([hashes_of(record) for record in records], np.uint64),
        "tasks": [record["task"] for record in records],
        "sources": [record["source"] for record in records],
        "whole": signatures(texts),
        "answers": signatures(answers),
        "ngrams": np.concatenate(grams),
        "counts": np.array([len(gram) for gram in grams]),
        "sizes": [len(line) for line in lines],
    }


def hashes_of(record: dict) -> tuple[int, int, int, int]:
    """Id, group, question and answer; 0 for the question of a raw text and for an answer that says nothing."""
    asked, said = folded(question(record)), folded(answer(record))
    saying = len(words(said)) >= SAYING
    return (
        number_of(record["id"]),
        hash64(record["group"]),
        hash64(asked) if asked else 0,
        hash64(said) if saying else 0,
    )
