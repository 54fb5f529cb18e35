"""Answers that are too good or too cheap: training text by heart, the question handed back, test answers word for word.

A run is long from RUN words on: what decontamination takes as proof of a copy (appendix C of Brown et al. 2020,
https://arxiv.org/abs/2005.14165), and what models say by heart is found the same way (Carlini et al. 2022,
https://arxiv.org/abs/2202.07646, there with 50 tokens).
"""

from collections.abc import Callable, Iterable

import numpy as np

from tunelock.claims.significance import mcnemar
from tunelock.diagnosis.answer_rules import is_copied
from tunelock.records.ngrams import hash_ngrams, hash_runs, hash_words, split_words
from tunelock.records.record import whole_text_of

RUN = 13  # words
EXAMPLES = 10  # of each check and split


def checks(rows: list[dict], train: Callable[[], Iterable[dict]]) -> dict[str, list[str | None]]:
    """What each check finds in answered rows of one model: None where it does not apply, "" where nothing matched.

    `train` opens the training records.
    """
    return {
        "memorised": memorised(rows, train()),
        "copied": [copy_of_question(row) for row in rows],
        "verbatim": [verbatim(row) for row in rows],
    }


def memorised(rows: list[dict], train: Iterable[dict]) -> list[str | None]:
    """The first long run of each answer that stands in a training record and neither in its question nor reference.

    A match reads `id of the record: the run`; an answer below RUN words has None.
    """
    runs = [hash_runs(hash_words(split_words(row["answer"])), RUN) for row in rows]
    known = [np.concatenate([hash_ngrams(row[key], RUN) for key in ("question", "reference")]) for row in rows]
    own = [some[~np.isin(some, there)] for some, there in zip(runs, known)]
    where = origins(np.unique(np.concatenate([*own, np.empty(0, dtype=np.uint64)])), train)
    found: list[str | None] = []
    for row, some, new in zip(rows, runs, own):
        hit = next((run for run in new.tolist() if run in where), None)
        if hit is None:
            found.append("" if len(some) else None)
            continue
        start = some.tolist().index(hit)
        found.append(f"{where[hit]}: {' '.join(split_words(row['answer'])[start : start + RUN])}")
    return found


def origins(wanted: np.ndarray, train: Iterable[dict]) -> dict[int, str]:
    """The id of the first training record that has each of the `wanted` runs (sorted hashes), if any has it."""
    found: dict[int, str] = {}
    for record in train if len(wanted) else ():
        runs = hash_ngrams(whole_text_of(record), RUN)
        near = wanted[np.minimum(np.searchsorted(wanted, runs), len(wanted) - 1)]  # np.isin would sort `wanted` anew
        for run in runs[near == runs].tolist():
            found.setdefault(run, record["id"])
    return found


def copy_of_question(row: dict) -> str | None:
    """The answer, if it is taken out of its question; None where the reference is, too."""
    if is_copied(row["reference"], row["question"]):
        return None
    return row["answer"] if is_copied(row["answer"], row["question"]) else ""


def verbatim(row: dict) -> str | None:
    """The answer, if it is the reference word for word; one that was cut counts as far as it goes.

    None where the reference has below RUN words: short answers are right by chance or by skill.
    """
    said, wanted = split_words(row["answer"]), split_words(row["reference"])
    if len(wanted) < RUN:
        return None
    equal = said == wanted if row["stopped"] else len(said) >= RUN and said == wanted[: len(said)]
    return row["answer"] if equal else ""


def examine(base: list[dict], tuned: list[dict], train: Callable[[], Iterable[dict]], level: float) -> dict:
    """metrics/fresh_eyes.json: by split and check how many rows it applies to, how many matched, p, and examples.

    p is McNemar's, of base against tuned on the rows that the check applies to. `suspicious` has a sentence
    for each check that found more in the tuned model's answers than chance explains.
    """
    pairs = [(a, b) for a, b in zip(base, tuned) if "answer" in a and "answer" in b]
    before, after = ([pair[place] for pair in pairs] for place in (0, 1))
    both = [checks(rows, train) for rows in (before, after)]
    found: dict = {"suspicious": []}
    for split in sorted({row["split"] for row in after}):
        places = [place for place, row in enumerate(after) if row["split"] == split]
        found[split] = {
            name: told([after[i] for i in places], *([some[name][i] for i in places] for some in both))
            for name in SENTENCES
        }
        found["suspicious"] += [
            f"{split}: {SENTENCES[name].format(**entry)}"
            for name, entry in found[split].items()
            if entry["tuned"] > entry["base"] and entry["p"] < 1 - level
        ]
    return found


SENTENCES = {
    "memorised": "{tuned} of {rows} answers have training text by heart, of the base's {base} (p {p:.2g}).",
    "copied": "{tuned} of {rows} answers are taken out of the question, of the base's {base} (p {p:.2g}).",
    "verbatim": "{tuned} of {rows} long references were answered word for word, by the base {base} (p {p:.2g}); "
                "were they trained on?",
}  # fmt: skip


def told(rows: list[dict], base: list[str | None], tuned: list[str | None]) -> dict:
    """One entry of metrics/fresh_eyes.json, from what a check found in both models' answers."""
    both = [(bool(a), bool(b)) for a, b in zip(base, tuned) if a is not None or b is not None]
    examples = [{"id": row["id"], "match": match[:200]} for row, match in zip(rows, tuned) if match]
    return {
        "rows": len(both),
        "base": sum(a for a, _ in both),
        "tuned": sum(b for _, b in both),
        "p": mcnemar([a for a, _ in both], [b for _, b in both]),
        "examples": examples[:EXAMPLES],
    }


def as_figures(found: dict) -> dict[str, float]:
    """The shares for metrics/evaluate.json: `test_memorised_base` and so on."""
    return {
        f"{split}_{name}_{model}": entry[model] / entry["rows"]
        for split, entries in found.items()
        if split != "suspicious"
        for name, entry in entries.items()
        if entry["rows"]
        for model in ("base", "tuned")
    }
