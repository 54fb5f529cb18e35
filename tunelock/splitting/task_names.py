"""Params that are about single tasks, held against the tasks that the rows have."""

import sys
from collections.abc import Mapping
from typing import Any

from tunelock.run.spelling import suggest_name

TASK_PARAMS = "task_weights", "task_loss_weights", "label_patterns", "choice_patterns", "format_checks"
MOST_NAMED = 20


def _find_unknown_tasks(params: Mapping[str, Mapping[str, Any] | None], tasks: list[str]) -> list[str]:
    """A sentence for each task that a param names and no row has."""
    there = ", ".join(sorted(tasks)[:MOST_NAMED]) + (", …" if tasks[MOST_NAMED:] else "")
    found = []
    for param, by_task in params.items():
        for task in sorted((by_task or {}).keys() - set(tasks)):
            found.append(
                f"{param} names the task '{task}', which no row has{suggest_name(task, tasks)} Tasks: {there}."
            )
    return found


def warn_of_unknown_tasks(params: Mapping[str, Mapping[str, Any] | None], tasks: list[str]) -> None:
    """Say on stderr which params are about tasks that no row has, so that they do nothing."""
    for sentence in _find_unknown_tasks(params, tasks):
        print(f"warning: {sentence}", file=sys.stderr)
