"""The harness's scores of a model beside ours, for the same rows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelock.harness import lm_eval_runner, task_rows
from tunelock.harness.harness_scores import (
    CHOICE,
    PERPLEXITY,
    TASKS,
    compare_with_harness,
    name_left_out,
    tabulate_agreement,
)
from tunelock.records.record import Record
from tunelock.records.scored_row import ScoredRow
from tunelock.rendering.rendering import Rendering, load_tokenizer
from tunelock.rendering.row_lengths import keep_fitting_records
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl
from tunelock.run.params import load_yaml

MODELS = {"base": "models/base", "tuned": "models/merged"}


@dataclass(frozen=True, slots=True)
class _Documents:
    """The rows of each of our tasks that has any, and how many records are in none, by reason."""

    by_task: dict[str, list[dict]]
    left_out: Counter[str]


def score_side_by_side(which: str, split: str, tasks: list[str], batch_size: int) -> Iterator[str]:
    """Our scores beside the harness's for our tasks, then the harness's table for others, each as Markdown.

    Args:
        which: a name in MODELS.
        split: `test` or `golden`; of our tasks.
        tasks: names of ours or of the harness.
        batch_size: rows; the harness makes all their logits.
    """
    from tunelock.model.modeling import make_deterministic

    lm_eval_runner.require()
    params, folder = load_yaml("params.yaml"), MODELS[which]
    if not Path(folder).exists():
        raise Stop(f"{folder} is missing; run `dvc repro merge` (or `dvc pull`) first.")
    ours, theirs = [name for name in tasks if name in TASKS], [name for name in tasks if name not in TASKS]
    rows = _read_our_rows(which, split) if ours else []
    documents = _make_documents(split, rows, folder, params, ours) if ours else _Documents({}, Counter())
    tasks_of_theirs = lm_eval_runner.their_tasks(theirs) if theirs else {}
    make_deterministic(0, params["num_threads"])
    model = lm_eval_runner.load(folder, params["dtype"], batch_size, params["thinking"])
    if ours:
        found = lm_eval_runner.score(model, documents.by_task)
        yield tabulate_agreement(f"{split}, {which}", compare_with_harness(found, rows), documents.left_out)
    if theirs:
        yield lm_eval_runner.score_theirs(model, tasks_of_theirs)


def _read_our_rows(which: str, split: str) -> list[ScoredRow]:
    """What the stage `evaluate` found for a model on a split."""
    rows = _read_made(f"models/evaluation/{which}.jsonl", "dvc repro evaluate")
    return [row for row in rows if row["split"] == split]


def _make_documents(split: str, rows: list[ScoredRow], folder: str, params: dict, tasks: list[str]) -> _Documents:
    """The documents of our tasks.

    Raises:
        Stop: none of the tasks has a row.
    """
    records: list[Record] = _read_made(f"data/split/{split}.jsonl", "dvc repro split")
    tokenizer, rendering = load_tokenizer(folder), Rendering.from_params(params)
    fitting = keep_fitting_records(tokenizer, records, rendering).records
    made = task_rows.make_documents(fitting, rows, tokenizer, rendering)
    all_tasks = {CHOICE: made.choice, PERPLEXITY: made.perplexity}
    by_task = {task: all_tasks[task] for task in tasks if all_tasks[task]}
    if not by_task:
        left_out = name_left_out(made.left_out)
        raise Stop(f"data/split/{split}.jsonl has no row for {' and '.join(tasks)}; left out: {left_out}.")
    return _Documents(by_task, made.left_out)


def _read_made(path: str, command: str) -> list[Any]:
    """The rows of a file that a stage writes, or `Stop` with the command that makes it."""
    if not Path(path).exists():
        raise Stop(f"{path} is missing; run `{command}` (or `dvc pull`) first.")
    return list(read_jsonl(path))
