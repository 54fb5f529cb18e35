"""Which answers a person compares, and which of two sides the tuned model's is on, without a word of it in the page.

The side follows from the row's id and the digests of both answer files: it can be found again from the same files, and
from no others.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path

from tunelock.records.record import hash_texts
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_file, sha256_value

SIDES = ("a", "b")


def pair_digest(files: Iterable[Path | str]) -> str:
    """One digest of both answer files, in the order base, tuned.

    Raises:
        Stop: one of them is not there.
    """
    gone = [str(file) for file in files if not Path(file).exists()]
    if gone:
        raise Stop(f"{gone[0]} is missing; run `dvc repro evaluate_base evaluate` (or `dvc pull`) to make it.")
    return sha256_value([sha256_file(file) for file in files])


def tuned_side(pair: str, row_id: str) -> str:
    """The side, a or b, on which the tuned model's answer stands."""
    return SIDES[hash_texts(pair, row_id) % 2]


def sampled(rows: Iterable[tuple[dict, dict]], size: int, pair: str) -> list[tuple[dict, dict]]:
    """`size` answered rows, or all there are: task by task in turn, within a task golden ones first, else by hash.

    Args:
        rows: each row as base and tuned left it.
        size: how many, >= 1.
        pair: what `pair_digest` returns.
    """
    tasks = defaultdict(list)
    for before, after in rows:
        if "answer" in before and "answer" in after:
            tasks[before["task"]].append((before, after))
    for members in tasks.values():
        members.sort(key=lambda row: (row[0]["split"] != "golden", hash_texts("sample", pair, row[0]["id"])))
        del members[size:]
    turns = chain.from_iterable(zip_longest(*(tasks[task] for task in sorted(tasks))))
    return [row for row in turns if row is not None][:size]


def blinded(rows: Iterable[tuple[dict, dict]], pair: str) -> list[dict]:
    """What the page may know of each row: id, split, task, question, reference, and the answers a and b."""
    shown = []
    for before, after in rows:
        row = {key: before[key] for key in ("id", "split", "task", "question", "reference")}
        side = tuned_side(pair, before["id"])
        other = SIDES[1 - SIDES.index(side)]
        shown.append({**row, side: after["answer"], other: before["answer"]})
    return [{key: row[key] for key in sorted(row)} for row in shown]
