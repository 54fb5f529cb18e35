"""What is compared of rows when data is split: hashes, MinHash signatures and word n-grams, read once from a file."""

import functools
import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tunelock.records.near import WIDTH, compute_signatures
from tunelock.records.ngrams import has_words, hash_ngrams
from tunelock.records.parallel import map_lines
from tunelock.records.record import (
    Record,
    fold_group,
    fold_text,
    hash_texts,
    number_of,
    question_of,
    reference_of,
    whole_text_of,
)
from tunelock.records.templates import Literals, remove_literals

ID, GROUP, QUESTION, REFERENCE, FOLDED_GROUP = range(5)  # the columns of the hashes
ARRAYS = ("hashes", "whole", "references", "ngrams")  # of which each has a file
SAYING = 8  # words
BLOCK = 2**20  # n-grams that are read together


class Labels(NamedTuple):
    """One label a row: the distinct ones in their order, and for each row its place among them."""

    names: list[str]
    codes: np.ndarray

    def mark_rows(self, wanted: Iterable[str]) -> np.ndarray:
        """True for the rows whose label is one of `wanted`."""
        wanted = set(wanted)
        return np.array([name in wanted for name in self.names], bool)[self.codes]


class _OwnedNgrams(NamedTuple):
    """The hashes of n-grams, and of each the row that has it."""

    owners: np.ndarray
    hashes: np.ndarray


class Features(NamedTuple):
    """What is known of n rows. `hashes` is uint64 (n, 5) with the columns ID, GROUP, QUESTION, REFERENCE and
    FOLDED_GROUP; 0 where there is none, or where a reference has fewer than SAYING words: labels say nothing about
    each other. GROUP is one number for all spellings of a group, FOLDED_GROUP the hash of what they have in common.

    `whole` and `references` are MinHash signatures (n, WIDTH); `ngrams` a file with the hashes of the word n-grams of
    all rows, those of row i from `bounds[i]` to `bounds[i + 1]`. All three are those of a row's own words, without the
    `literals` of its source's templates. `lines` are n + 1 byte positions in `records`.
    """

    hashes: np.ndarray
    tasks: Labels
    sources: Labels
    whole: np.ndarray
    references: np.ndarray
    ngrams: BinaryIO
    bounds: np.ndarray
    lines: np.ndarray
    records: BinaryIO
    literals: Literals

    def read_text(self, row: int) -> str:
        """The row's own words, question and answer, read again from its file."""
        record = self.read_record(row)
        return remove_literals(whole_text_of(record), self.literals.get(record["source"], []))

    def read_reference(self, row: int) -> str:
        """The own words of a row's reference, read again from its file."""
        record = self.read_record(row)
        return remove_literals(reference_of(record), self.literals.get(record["source"], []))

    def read_record(self, row: int) -> Record:
        """A row, read again from its file."""
        return json.loads(self.read_line(row))

    def read_line(self, row: int) -> bytes:
        """The line of a row in its file."""
        start, end = self.lines[row : row + 2]
        return os.pread(self.records.fileno(), end - start, start)

    def cut_blocks(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows in blocks that have about BLOCK n-grams each."""
        sizes = np.cumsum(self.bounds[rows + 1] - self.bounds[rows])
        return np.split(rows, np.searchsorted(sizes, np.arange(BLOCK, sizes[-1], BLOCK))) if len(rows) else []

    def read_ngrams(self, rows: np.ndarray) -> _OwnedNgrams:
        """The n-grams of rows, those of each sorted. Rows that follow each other in the file are read at once."""
        starts, ends = self.bounds[rows], self.bounds[rows + 1]
        leaps = np.flatnonzero(np.diff(rows) != 1)
        runs = zip(starts[np.append(0, leaps + 1)].tolist(), ends[np.append(leaps, -1)].tolist()) if len(rows) else ()
        read = bytearray().join(os.pread(self.ngrams.fileno(), 8 * (end - start), 8 * start) for start, end in runs)
        return _OwnedNgrams(np.repeat(rows, ends - starts), np.frombuffer(read, np.uint64))


def read_features(path: Path, folder: Path, literals: Literals, ngram_words: int) -> Features:
    """Read what is compared from the records of a file; n-grams have `ngram_words` words.

    The large arrays go to files in `folder`, which is made if it is not there, and not into memory.
    """
    folder.mkdir(exist_ok=True)
    labels: dict[str, dict[str, int]] = {"task": {}, "source": {}}  # of each kind, a number for each
    codes = {"task": [np.zeros(0, int)], "source": [np.zeros(0, int)]}
    counts, sizes = [np.zeros(1, int)], [0]
    describe = functools.partial(_describe_lines, literals=literals, ngram_words=ngram_words)
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / f"{name}.tmp", "wb")) for name in ARRAYS}
        for found in map_lines(describe, path, "compare"):
            for name, file in files.items():
                found[name].tofile(file)
            for kind, numbers in labels.items():
                codes[kind].append(np.array([numbers.setdefault(name, len(numbers)) for name in found[kind]], int))
            counts.append(found["counts"])
            sizes += found["sizes"]
    hashes = np.fromfile(folder / "hashes.tmp", np.uint64).reshape(-1, 5)
    hashes[:, GROUP] = _join_spellings(hashes)
    return Features(
        hashes=hashes,
        tasks=_sort_labels(labels["task"], np.concatenate(codes["task"])),
        sources=_sort_labels(labels["source"], np.concatenate(codes["source"])),
        whole=_map_array(folder / "whole.tmp", np.uint16).reshape(-1, WIDTH),
        references=_map_array(folder / "references.tmp", np.uint16).reshape(-1, WIDTH),
        ngrams=open(folder / "ngrams.tmp", "rb"),
        bounds=np.cumsum(np.concatenate(counts)),
        lines=np.cumsum(sizes),
        records=open(path, "rb"),
        literals=literals,
    )


def _join_spellings(hashes: np.ndarray) -> np.ndarray:
    """The group of each row: of the hashes of its spellings ("Acme", "ACME") the smallest."""
    _, place = np.unique(hashes[:, FOLDED_GROUP], return_inverse=True)
    smallest = np.full(len(hashes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, place, hashes[:, GROUP])
    return smallest[place]


def _sort_labels(numbers: dict[str, int], codes: np.ndarray) -> Labels:
    """Labels numbered in the order in which they were met, and now in the order of their names."""
    names = sorted(numbers)
    place = np.zeros(len(names), int)
    place[[numbers[name] for name in names]] = np.arange(len(names))
    return Labels(names, place[codes])


def _map_array(path: Path, dtype: type) -> np.ndarray:
    """The array in a file, left there; an empty file cannot be mapped."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


def _describe_lines(lines: list[bytes], literals: Literals, ngram_words: int) -> dict[str, Any]:
    """The features of some lines, in the arrays of `Features` and as lists."""
    records = [json.loads(line) for line in lines]
    repeated = [literals.get(record["source"], []) for record in records]
    texts = [remove_literals(whole_text_of(record), some) for record, some in zip(records, repeated)]
    references = [remove_literals(reference_of(record), some) for record, some in zip(records, repeated)]
    grams = [hash_ngrams(text, ngram_words) for text in texts]
    return {
        "hashes": np.array([_hash_record(*pair) for pair in zip(records, references)], np.uint64),
        "task": [record["task"] for record in records],
        "source": [record["source"] for record in records],
        "whole": compute_signatures(texts),
        "references": compute_signatures(references),
        "ngrams": np.concatenate(grams),
        "counts": np.array([len(gram) for gram in grams]),
        "sizes": [len(line) for line in lines],
    }


def _hash_record(record: Record, own_reference: str) -> tuple[int, int, int, int, int]:
    """The columns of the hashes; 0 for the question of a raw text and for a reference that says nothing."""
    question, reference = fold_text(question_of(record)), fold_text(reference_of(record))
    return (
        number_of(record["id"]),
        hash_texts(record["group"]),
        hash_texts(question) if question else 0,
        hash_texts(reference) if has_words(own_reference, SAYING) else 0,
        hash_texts(fold_group(record["group"])),
    )
