"""`tunelock harness`."""

import os
from typing import Annotated, Literal

import typer


def harness(
    model: Annotated[Literal["base", "tuned"], typer.Option(help="Which model to score.")] = "tuned",
    split: Annotated[Literal["test", "golden"], typer.Option(help="Split of our tasks.")] = "test",
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="One of its tasks; repeat it. Our two if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows; the harness makes all their logits.")] = 8,
) -> None:
    """Score a model with lm-evaluation-harness, beside ours.

    Our own tasks run without network. Tasks of the harness, such as hellaswag, take their data from the hub.

    Example: tunelock harness --model base --split golden
    """
    from tunelock.harness.harness_scores import TASKS

    tasks = task or list(TASKS)
    if set(tasks) <= set(TASKS):  # the libraries read these when they are imported, which comes next
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    from tunelock.harness.side_by_side import score_side_by_side

    for part in score_side_by_side(model, split, tasks, batch_size):
        typer.echo(part)
