"""Score a model with EleutherAI's lm-evaluation-harness and put its numbers beside ours.

    python -m tunelock.commands.harness                                   # the tuned model on the test split
    python -m tunelock.commands.harness --model base --split golden
    python -m tunelock.commands.harness --tasks hellaswag arc_easy        # tasks of the harness, with data from the hub

Reads models/{base,merged}, data/split and models/evaluation; writes the rows of the task files in `harness` below
.ckpt/harness and prints Markdown. Our own tasks run without network. No stage of the DAG: lm-eval is an extra.
"""

import argparse
import os
from collections import Counter
from pathlib import Path

from tunelock.harness.harness_scores import CHOICE, PERPLEXITY, TASKS, compare, counted, table
from tunelock.run.errors import Stop
from tunelock.run.files import read_jsonl
from tunelock.run.params import load_yaml
from tunelock.run.stage import plain_errors

MODELS = {"base": "models/base", "tuned": "models/merged"}


def run(which: str, split: str, tasks: list[str], batch_size: int) -> None:
    """Print our scores beside the harness's for our tasks, and the harness's table for others."""
    from tunelock.harness import lm_eval_runner as harness
    from tunelock.model.modeling import settle

    harness.require()
    params, folder = load_yaml("params.yaml"), MODELS[which]
    if not Path(folder).exists():
        raise Stop(f"{folder} is missing; run `dvc repro merge` (or `dvc pull`) first.")
    ours, theirs = [name for name in tasks if name in TASKS], [name for name in tasks if name not in TASKS]
    rows = our_rows(which, split) if ours else []
    documents_of, left_out = documents(split, rows, folder, params, ours) if ours else ({}, Counter())
    tasks_of_theirs = harness.their_tasks(theirs) if theirs else {}
    settle(0, params["num_threads"])
    model = harness.load(folder, params["dtype"], batch_size)
    if ours:
        print(table(f"{split}, {which}", *compare(harness.score(model, documents_of), rows), left_out))
    if theirs:
        print(harness.score_theirs(model, tasks_of_theirs))


def our_rows(which: str, split: str) -> list[dict]:
    """What `stages.evaluate` found for a model on a split."""
    return [row for row in read(f"models/evaluation/{which}.jsonl", "dvc repro evaluate") if row["split"] == split]


def documents(
    split: str, rows: list[dict], folder: str, params: dict, tasks: list[str]
) -> tuple[dict[str, list[dict]], Counter]:
    """The rows of each of our tasks that has any, and which records are in none.

    Raises:
        Stop: none of the tasks has a row.
    """
    from tunelock.harness import task_rows
    from tunelock.rendering.rendering import load_tokenizer

    records = read(f"data/split/{split}.jsonl", "dvc repro split")
    made = task_rows.documents(records, rows, load_tokenizer(folder), params["system_prompt"], params["max_turns"])
    documents_of = {CHOICE: made.choice, PERPLEXITY: made.perplexity}
    documents_of = {task: documents_of[task] for task in tasks if documents_of[task]}
    if not documents_of:
        left_out = counted(made.left_out)
        raise Stop(f"data/split/{split}.jsonl has no row for {' and '.join(tasks)}; left out: {left_out}.")
    return documents_of, made.left_out


def read(path: str, command: str) -> list[dict]:
    """The rows of a file that a stage writes, or `Stop` with the command that makes it."""
    if not Path(path).exists():
        raise Stop(f"{path} is missing; run `{command}` (or `dvc pull`) first.")
    return list(read_jsonl(path))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m tunelock.commands.harness", description="Score with lm-evaluation-harness."
    )
    parser.add_argument("--model", choices=MODELS, default="tuned")
    parser.add_argument("--split", choices=("test", "golden"), default="test", help="of our tasks, default test")
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="NAME", help=f"default: {' '.join(TASKS)}")
    parser.add_argument("--batch-size", type=int, default=8, help="rows, default 8: the harness makes all their logits")
    given = parser.parse_args(arguments)
    if set(given.tasks) <= set(TASKS):  # the libraries read these when they are imported, so `run` imports them
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    with plain_errors("harness"):
        run(given.model, given.split, given.tasks, given.batch_size)


if __name__ == "__main__":
    main()
