"""Which answers a person compares, and which of two sides the tuned model's is on, without a word of it in the page.

The side follows from the row's id and the digests of both answer files: it can be found again from the same files, and
from no others.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypedDict

from tunelock.records.record import hash_texts
from tunelock.records.scored_row import RowPair
from tunelock.run.errors import Stop
from tunelock.run.hashing import sha256_file, sha256_value

SIDES = ("a", "b")


class _BlindRow(TypedDict):
    """What the page may know of a row: `a` and `b` are the answers of the two models, in an order of their own."""

    a: str
    b: str
    id: str
    question: str
    reference: str
    split: str
    task: str


def digest_answers(files: Iterable[Path | str]) -> str:
    """One digest of both answer files, in the order base, tuned.

    Raises:
        Stop: one of them is not there.
    """
    gone = [str(file) for file in files if not Path(file).exists()]
    if gone:
        raise Stop(f"{gone[0]} is missing; run `dvc repro evaluate_base evaluate` (or `dvc pull`) to make it.")
    return sha256_value([sha256_file(file) for file in files])


def find_tuned_side(digest: str, row_id: str) -> str:
    """The side, a or b, on which the tuned model's answer stands; `digest` is of the answers."""
    return SIDES[hash_texts(digest, row_id) % 2]


def find_other_side(side: str) -> str:
    return SIDES[1 - SIDES.index(side)]


def sample_answered(pairs: Iterable[RowPair], size: int, digest: str) -> list[RowPair]:
    """`size` answered rows, or all there are: task by task in turn, within a task golden ones first, else by hash.

    Args:
        pairs: each row as base and tuned left it.
        size: how many, >= 1.
        digest: what `digest_answers` returns.
    """

    def order_pair(pair: RowPair) -> tuple[bool, int]:
        return pair.base["split"] != "golden", hash_texts("sample", digest, pair.base["id"])

    tasks = defaultdict(list)
    for pair in pairs:
        if pair.is_answered:
            tasks[pair.base["task"]].append(pair)
    for members in tasks.values():
        members.sort(key=order_pair)
        del members[size:]
    turns = chain.from_iterable(zip_longest(*(tasks[task] for task in sorted(tasks))))
    return [pair for pair in turns if pair is not None][:size]


def blind_rows(pairs: Iterable[RowPair], digest: str) -> list[_BlindRow]:
    """What the page may know of each row; the order of the fields says nothing about the models either."""
    return [_blind_row(pair, find_tuned_side(digest, pair.base["id"])) for pair in pairs]


def _blind_row(pair: RowPair, tuned_side: str) -> _BlindRow:
    base, tuned = pair
    first, second = (tuned, base) if tuned_side == SIDES[0] else (base, tuned)
    return _BlindRow(
        a=first["answer"],
        b=second["answer"],
        id=base["id"],
        question=base["question"],
        reference=base["reference"],
        split=base["split"],
        task=base["task"],
    )
