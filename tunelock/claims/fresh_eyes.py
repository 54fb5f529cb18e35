"""Answers that are too good or too cheap: training text by heart, the question handed back, test answers word for word.

A run is long from RUN words on: what decontamination takes as proof of a copy (appendix C of Brown et al. 2020,
https://arxiv.org/abs/2005.14165), and what models say by heart is found the same way (Carlini et al. 2022,
https://arxiv.org/abs/2202.07646, there with 50 tokens).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tunelock.claims.significance import compute_mcnemar
from tunelock.diagnosis.answer_texts import is_copied
from tunelock.records.ngrams import hash_ngrams, hash_runs, hash_words, split_words
from tunelock.records.record import Record, whole_text_of
from tunelock.records.scored_row import ScoredRow

RUN = 13  # words
EXAMPLES = 10  # of each check and split
SENTENCES = {
    "memorised": "{tuned} of {rows} answers have training text by heart, of the base's {base} (p {p:.2g}).",
    "copied": "{tuned} of {rows} answers are taken out of the question, of the base's {base} (p {p:.2g}).",
    "verbatim": "{tuned} of {rows} long references were answered word for word, by the base {base} (p {p:.2g}); "
                "were they trained on?",
}  # fmt: skip


class _Checked(NamedTuple):
    """What one check found in the answers to a row's question: what matched, "" for nothing, None: does not apply."""

    row: ScoredRow
    base: str | None
    tuned: str | None


def check_answers(rows: list[ScoredRow], train: Callable[[], Iterable[Record]]) -> dict[str, list[str | None]]:
    """What each check finds in answered rows of one model: None where it does not apply, "" where nothing matched.

    `train` opens the training records.
    """
    return {
        "memorised": _find_memorised(rows, train()),
        "copied": [_find_copy(row) for row in rows],
        "verbatim": [_find_verbatim(row) for row in rows],
    }


def _find_memorised(rows: list[ScoredRow], train: Iterable[Record]) -> list[str | None]:
    """The first long run of each answer that stands in a training record and neither in its question nor reference.

    A match reads `id of the record: the run`; an answer below RUN words has None.
    """
    runs, own = [], [np.empty(0, dtype=np.uint64)]
    for row in rows:
        runs.append(hash_runs(hash_words(split_words(row["answer"])), RUN))
        known = np.concatenate([hash_ngrams(row["question"], RUN), hash_ngrams(row["reference"], RUN)])
        own.append(runs[-1][~np.isin(runs[-1], known)])
    origins = _find_origins(np.unique(np.concatenate(own)), train)
    found: list[str | None] = []
    for row, some, new in zip(rows, runs, own[1:]):
        hit = next((run for run in new.tolist() if run in origins), None)
        if hit is None:
            found.append("" if len(some) else None)
            continue
        start = some.tolist().index(hit)
        found.append(f"{origins[hit]}: {' '.join(split_words(row['answer'])[start : start + RUN])}")
    return found


def _find_origins(wanted: np.ndarray, train: Iterable[Record]) -> dict[int, str]:
    """The id of the first training record that has each of the `wanted` runs (sorted hashes), if any has it."""
    found: dict[int, str] = {}
    for record in train if len(wanted) else ():
        runs = hash_ngrams(whole_text_of(record), RUN)
        near = wanted[np.minimum(np.searchsorted(wanted, runs), len(wanted) - 1)]  # np.isin would sort it every time
        for run in runs[near == runs].tolist():
            found.setdefault(run, record["id"])
    return found


def _find_copy(row: ScoredRow) -> str | None:
    """The answer, if it is taken out of its question; None where the reference is, too."""
    if is_copied(row["reference"], row["question"]):
        return None
    return row["answer"] if is_copied(row["answer"], row["question"]) else ""


def _find_verbatim(row: ScoredRow) -> str | None:
    """The answer, if it is the reference word for word; one that was cut counts as far as it goes.

    None where the reference has below RUN words: short answers are right by chance or by skill.
    """
    said, wanted = split_words(row["answer"]), split_words(row["reference"])
    if len(wanted) < RUN:
        return None
    equal = said == wanted if row["stopped"] else len(said) >= RUN and said == wanted[: len(said)]
    return row["answer"] if equal else ""


def examine_answers(
    base: list[ScoredRow], tuned: list[ScoredRow], train: Callable[[], Iterable[Record]], level: float
) -> dict:
    """metrics/fresh_eyes.json: by split and check how many rows it applies to, how many matched, p, and examples.

    p is McNemar's, of base against tuned on the rows that the check applies to. `suspicious` has a sentence
    for each check that found more in the tuned model's answers than chance explains.
    """
    pairs = [both for both in zip(base, tuned) if "answer" in both[0] and "answer" in both[1]]
    before = check_answers([row for row, _ in pairs], train)
    after = check_answers([row for _, row in pairs], train)
    found: dict = {"suspicious": []}
    for split in sorted({row["split"] for _, row in pairs}):
        found[split] = {}
        for name, sentence in SENTENCES.items():
            checked = [_Checked(row, *both) for (_, row), *both in zip(pairs, before[name], after[name])]
            entry = _count_matches([one for one in checked if one.row["split"] == split])
            found[split][name] = entry
            if entry["tuned"] > entry["base"] and entry["p"] < 1 - level:
                found["suspicious"].append(f"{split}: {sentence.format(**entry)}")
    return found


def _count_matches(checked: list[_Checked]) -> dict:
    """One entry of metrics/fresh_eyes.json, from what a check found in both models' answers."""
    applies = [one for one in checked if one.base is not None or one.tuned is not None]
    base, tuned = [bool(one.base) for one in applies], [bool(one.tuned) for one in applies]
    examples = [{"id": one.row["id"], "match": one.tuned[:200]} for one in checked if one.tuned]
    return {
        "rows": len(applies),
        "base": sum(base),
        "tuned": sum(tuned),
        "p": compute_mcnemar(base, tuned),
        "examples": examples[:EXAMPLES],
    }


def flatten_shares(found: dict) -> dict[str, float]:
    """The shares for metrics/evaluate.json: `test_memorised_base` and so on."""
    shares = {}
    for split in found.keys() - {"suspicious"}:
        for name, entry in found[split].items():
            if entry["rows"]:
                shares |= {f"{split}_{name}_{model}": entry[model] / entry["rows"] for model in ("base", "tuned")}
    return shares
