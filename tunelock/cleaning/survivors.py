"""The records that are fit by themselves: their lines and signatures in files, so that memory holds hashes alone."""

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunelock.cleaning.duplicates import REFERENCE, hash_contents
from tunelock.cleaning.judgement import Judgement, judge_record
from tunelock.cleaning.ledger import Ledger
from tunelock.cleaning.record_rules import RuleParams
from tunelock.cleaning.sameness import Said, read_said, say_the_same
from tunelock.records.near import WIDTH, compute_signatures, find_clusters
from tunelock.records.parallel import map_lines
from tunelock.records.record import Record, whole_text_of
from tunelock.records.templates import Literals
from tunelock.run.files import format_json_line

BLOCK_ROWS = 2**16  # signatures that are read at once
REMEMBERED = 2**16  # pairs that were compared; one that is not alike is met again in other bands
REMEMBERED_ROWS = 2**12  # rows, of which one is compared with many


class _JudgedLines(NamedTuple):
    """What became of some lines: their judgements, and of the fit records the lines, hashes and signatures.

    `hashes` is uint64 of shape (fit, 5), see `hash_contents`; `signatures` uint16 (fit, WIDTH).
    """

    judgements: list[Judgement]
    lines: list[bytes]
    hashes: np.ndarray
    signatures: np.ndarray


@dataclass(frozen=True, slots=True)
class Survivors:
    """n records: the file of their lines, the file of their signatures, uint16 (n, WIDTH), and in memory their hashes,
    uint64 (n, 5), and the byte positions of the lines and of the end, (n + 1,)."""

    lines: Path
    signatures: Path
    hashes: np.ndarray
    positions: np.ndarray

    def delete_files(self) -> None:
        """Remove both files."""
        self.lines.unlink()
        self.signatures.unlink()


def judge_lines(lines: list[bytes], params: RuleParams) -> _JudgedLines:
    """Judge each record of some lines by itself."""
    judgements = [judge_record(json.loads(line), params) for line in lines]
    fit = [judgement.record for judgement in judgements if judgement.status == "kept"]
    hashes = np.array([hash_contents(record) for record in fit], np.uint64).reshape(-1, 5)
    return _JudgedLines(
        judgements, list(map(format_json_line, fit)), hashes, compute_signatures(map(whole_text_of, fit))
    )


def judge_records(path: Path | str, params: RuleParams, ledger: Ledger, folder: Path) -> Survivors:
    """Judge each record of a file by itself and book what was done; the fit ones go to temporary files in `folder`."""
    lines, signatures = folder / "survivors.tmp", folder / "signatures.tmp"
    hashes, sizes = [np.zeros((0, 5), np.uint64)], [0]
    with open(lines, "wb") as out, open(signatures, "wb") as signed:
        for judged in map_lines(functools.partial(judge_lines, params=params), path, "clean"):
            for judgement in judged.judgements:
                ledger.note_judgement(judgement)
            out.writelines(judged.lines)
            judged.signatures.tofile(signed)
            hashes.append(judged.hashes)
            sizes += map(len, judged.lines)
    return Survivors(lines, signatures, np.concatenate(hashes), np.cumsum(sizes))


def cluster_survivors(survivors: Survivors, kept: np.ndarray, threshold: float, literals: Literals) -> np.ndarray:
    """The near-duplicate cluster of each of the records with the indices `kept`: rows are joined whose whole texts are
    alike, by the Jaccard index of shingles, and whose own questions and answers are."""
    if len(kept) < 2:
        return kept
    with open(survivors.lines, "rb") as file:

        def read_record(index: int) -> Record:
            start, end = survivors.positions[kept[index] : kept[index] + 2]
            return json.loads(os.pread(file.fileno(), end - start, start))

        @functools.lru_cache(REMEMBERED_ROWS)
        def read(index: int) -> Said:
            return read_said(read_record(index), literals)

        @functools.lru_cache(REMEMBERED)
        def agree(one: int, other: int) -> bool:
            return say_the_same(read(one), read(other), threshold)

        signatures = _read_signatures(survivors.signatures, kept)
        answers = survivors.hashes[kept, REFERENCE]
        return find_clusters(signatures, threshold, lambda index: whole_text_of(read_record(index)), agree, answers)


def _read_signatures(path: Path, kept: np.ndarray) -> np.ndarray:
    """The rows of a file with these ascending indices; read in blocks, for mapped pages count as memory."""
    found, start = [np.zeros((0, WIDTH), np.uint16)], 0
    with open(path, "rb") as file:
        while len(values := np.fromfile(file, np.uint16, WIDTH * BLOCK_ROWS)):
            block = values.reshape(-1, WIDTH)
            stop = start + len(block)
            found.append(block[kept[np.searchsorted(kept, start) : np.searchsorted(kept, stop)] - start])
            start = stop
    return np.concatenate(found)
