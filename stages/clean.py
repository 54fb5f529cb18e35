"""Mend what can be mended, leave out what must not be trained on, and account for every row of every source.

    python -m stages.clean

Reads data/records and the base model's tokenizer.json; writes data/clean/records.jsonl, dropped.jsonl and
set_aside.jsonl (each row with its `reason`), repaired.jsonl (before and after), pii.jsonl (kind and offset, never the
value), ledger.jsonl (one line for each row that any source ever held) and metrics/data.json, the funnel.
"""

import functools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunelock.cleaning.duplicates import NONE, find_conflicts, find_duplicates
from tunelock.cleaning.ledger import Ledger
from tunelock.cleaning.rules import Judgement, Rules, judge_raw_row, judge_record
from tunelock.records.near import WIDTH, compute_signatures, find_clusters
from tunelock.records.ngrams import split_shingle_tokens
from tunelock.records.parallel import map_lines
from tunelock.records.record import fold_text, hash_texts, number_of, question_of, reference_of, whole_text_of
from tunelock.run.bars import Bar
from tunelock.run.errors import Stop
from tunelock.run.files import format_json_line, read_json, read_jsonl, whole_folder, write_json
from tunelock.run.stage import stage

RULE_PARAMS = (
    "repair_text", "min_response_chars", "max_response_chars", "max_record_tokens", "languages", "alignment_rules",
    "pii",
)  # fmt: skip
MANY_NEAR_DUPLICATES = 0.3  # share above which the data, or the threshold, deserves a second look


class Examined(NamedTuple):
    """What `examine` found in some lines: verdicts, and for the fit records their lines, hashes and signatures.

    `hashes` is uint64 of shape (fit, 5): id, content, question, answer, source; `signatures` (fit, WIDTH).
    """

    verdicts: list[Judgement]
    lines: list[bytes]
    hashes: np.ndarray
    signatures: np.ndarray


def examine(lines: list[bytes], rules: Rules) -> Examined:
    """Judge each record of some lines by itself."""
    verdicts = [judge_record(json.loads(line), rules) for line in lines]
    fit = [verdict.record for verdict in verdicts if verdict.status == "kept"]
    hashes = np.array([hashes_of(record) for record in fit], np.uint64).reshape(-1, 5)
    return Examined(
        verdicts, [format_json_line(record) for record in fit], hashes, compute_signatures(map(whole_text_of, fit))
    )


def hashes_of(record: dict) -> tuple[int, ...]:
    """Id, content, question, answer and source as 64-bit numbers, whatever case, white space and Unicode form.

    Answers that differ in punctuation alone do not conflict, so their tokens stand for them. A raw text asks nothing,
    so its id stands for its question: it conflicts with nothing.
    """
    number, asked, said = number_of(record["id"]), fold_text(question_of(record)), fold_text(reference_of(record))
    question_hash, answer_hash = hash_texts(asked) if asked else number, hash_texts(*split_shingle_tokens(said))
    return number, hash_texts(asked, said), question_hash, answer_hash, hash_texts(record["source"])


def examine_all(
    path: str, rules: Rules, ledger: Ledger, survivors: Path, matrix: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Examine every record; the fit ones go to the file `survivors`, their signatures to the file `matrix`.

    Returns:
        The hashes of the fit records, uint64 of shape (n, 5), and the byte positions of their n lines and the end.
    """
    hashes, sizes = [np.zeros((0, 5), np.uint64)], [0]
    with open(survivors, "wb") as out, open(matrix, "wb") as signed:
        for found in map_lines(functools.partial(examine, rules=rules), path, "clean"):
            for verdict in found.verdicts:
                ledger.note(verdict)
            out.writelines(found.lines)
            found.signatures.tofile(signed)
            hashes.append(found.hashes)
            sizes += map(len, found.lines)
    return np.concatenate(hashes), np.cumsum(sizes)


def near_duplicates(
    survivors: Path, positions: np.ndarray, matrix: Path, kept: np.ndarray, threshold: float
) -> np.ndarray:
    """The near-duplicate cluster of each of the records with the indices `kept`, by the Jaccard index of shingles."""
    if len(kept) < 2:
        return kept
    with open(survivors, "rb") as file:

        def text_of(index: int) -> str:
            start, end = positions[kept[index] : kept[index] + 2]
            return whole_text_of(json.loads(os.pread(file.fileno(), end - start, start)))

        return find_clusters(signatures_at(matrix, kept), threshold, text_of)


def signatures_at(matrix: Path, kept: np.ndarray) -> np.ndarray:
    """The rows of the file `matrix` with these ascending indices; read in blocks, for mapped pages count as memory."""
    found, start = [np.zeros((0, WIDTH), np.uint16)], 0
    with open(matrix, "rb") as file:
        while len(block := np.fromfile(file, np.uint16, WIDTH * 2**16)):
            block = block.reshape(-1, WIDTH)
            stop = start + len(block)
            found.append(block[kept[np.searchsorted(kept, start) : np.searchsorted(kept, stop)] - start])
            start = stop
    return np.concatenate(found)


def compare(hashes: np.ndarray, cluster, conflicting_answers: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (status, reason, because) for each rule between records; `because` as in `tunelock.cleaning.duplicates`.

    `cluster` gives the near-duplicate labels of the records with given indices. A rule sees what the ones before left:
    conflicts come before near-duplicates, for "yes" and "no" to one long question make texts that are nearly the same.
    """
    ids, contents, questions, answers, _ = hashes.T
    left = np.arange(len(ids))

    def rule(because: np.ndarray) -> np.ndarray:
        nonlocal left
        whole = np.full(len(ids), NONE)
        whole[left[because != NONE]] = left[because[because != NONE]]
        left = left[because == NONE]
        return whole

    yield "dropped", "duplicate", rule(find_duplicates(contents, ids))
    if conflicting_answers == "set_aside":
        yield "set_aside", "conflicting_answers", rule(find_conflicts(questions[left], answers[left], ids[left]))
    if cluster:
        yield "dropped", "near_duplicate", rule(find_duplicates(cluster(left), ids[left]))


def settle(survivors: Path, hashes: np.ndarray, reasons: list, ledger: Ledger, sources: list[str]) -> None:
    """Book each record of the file `survivors` as kept, or as left out for the first of `reasons` (see `compare`)."""
    names = {hash_texts(name): name for name in sources}
    ids, sources = hashes[:, 0].tolist(), hashes[:, 4].tolist()
    for index, record in enumerate(Bar(read_jsonl(survivors), total=len(ids), unit="row", desc="settle")):
        for status, reason, because in reasons:
            cause = because[index]
            if cause != NONE:
                ledger.leave_out(record, status, reason, f"{names[sources[cause]]}-{ids[cause]:016x}")
                break
        else:
            ledger.keep(record)


@stage("clean")
def main(params, _fingerprint) -> str:
    rules = Rules(**params.select(RULE_PARAMS), tokenizer="models/base/tokenizer.json")
    counts = read_json("data/records/counts.json")
    with whole_folder("data/clean") as folder, ExitStack() as files:
        ledger = Ledger(folder, files)
        for row in read_jsonl("data/records/set_aside.jsonl"):
            ledger.note(judge_raw_row(row, rules))
        survivors, matrix = folder / "survivors.tmp", folder / "signatures.tmp"
        hashes, positions = examine_all("data/records/records.jsonl", rules, ledger, survivors, matrix)
        threshold = params.near_duplicate_threshold
        cluster = functools.partial(near_duplicates, survivors, positions, matrix, threshold=threshold)
        reasons = list(compare(hashes, cluster if threshold else None, params.conflicting_answers))
        settle(survivors, hashes, reasons, ledger, list(counts))
        survivors.unlink()
        matrix.unlink()
        funnel = ledger.funnel(counts)
        total = funnel["total"]
        if not total["kept"]:
            raise Stop(f"no row is left of {total['rows']}: {json.dumps(total)}; loosen the rules in params.yaml.")
    write_json("metrics/data.json", funnel)
    near = total["dropped"].get("near_duplicate", 0)
    if near > MANY_NEAR_DUPLICATES * total["rows"]:
        print(f"warning: {near} of {total['rows']} rows are near-duplicates of others", file=sys.stderr)
    return f"{total['kept']} of {total['rows']} rows kept, {total['repaired']} of them repaired"


if __name__ == "__main__":
    main()
