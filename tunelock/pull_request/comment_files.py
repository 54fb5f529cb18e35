"""The comment on a pull request as files: comment.md and its charts."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tunelock.pull_request.comment import compose_comment
from tunelock.pull_request.commit_charts import Commits, draw_commit_losses, draw_commit_tasks
from tunelock.pull_request.facts import Facts
from tunelock.pull_request.gate import check_gate, note_changed_rules
from tunelock.pull_request.likeness import Likeness
from tunelock.pull_request.two_commits import TwoCommits
from tunelock.records.scored_row import HELD_OUT
from tunelock.report.images import encode_png
from tunelock.run.files import read_json, whole_file, write_text
from tunelock.run.revisions import name_this_commit, read_json_at, run_dvc_json

CLAIMS = "metrics/claims.json"


def write_comment(found: TwoCommits, out: Path, charts_at: str | None) -> dict[str, str]:
    """Write comment.md and the charts into the folder `out`; the charts' titles by file name.

    `charts_at` is a link to the charts, where they are to be linked and not shown.
    """
    charts, undrawn = _write_charts(found, out), _explain_undrawn(found.likeness)
    facts = Facts(
        base=found.base,
        base_commit=found.commit,
        here=name_this_commit(),
        level=found.level,
        metrics=found.metrics,
        params=run_dvc_json("params", "diff", found.commit),
        comparisons=found.rows.comparisons,
        pairs=found.rows.pairs,
        unpaired_because=found.rows.unpaired_because,
        base_claims=read_json_at(found.commit, CLAIMS, {}),
        claims=_read_here(CLAIMS, {}),
        gate=check_gate(found),
        gate_note=note_changed_rules(found),
        charts=charts,
        charts_at=charts_at,
        undrawn=undrawn,
        likeness=found.likeness,
    )
    write_text(out / "comment.md", compose_comment(facts))
    return charts


def _write_charts(found: TwoCommits, out: Path) -> dict[str, str]:
    """Write the charts that either commit has rows for and that show the same of both; title by file name."""
    names, titles, likeness = Commits(found.base, "here"), {}, found.likeness
    validation = _read_both(found.commit, "eval_loss")
    if any(validation) and not likeness.val:
        figure = draw_commit_losses(_read_both(found.commit, "train_loss"), validation, names)
        titles |= _write_chart(figure, out / "loss.png", "Loss by step")
    for split in HELD_OUT:
        rows = _read_both(found.commit, f"tasks_{split}")
        if any(rows) and not likeness.explain(f"{split}_perplexity_tuned"):
            figure = draw_commit_tasks(rows, names, split)
            titles |= _write_chart(figure, out / f"{split}.png", f"Perplexity on {split} by task")
    return titles


def _explain_undrawn(likeness: Likeness) -> tuple[str, ...]:
    """Which charts of both commits would not show the same of both, and why."""
    found = [f"No chart of the loss: {likeness.val}."] if likeness.val else []
    for split in HELD_OUT:
        why = likeness.explain(f"{split}_perplexity_tuned")
        found += [f"No chart of {split}: {why}."] if why else []
    return tuple(found)


def _write_chart(figure: Figure, path: Path, title: str) -> dict[str, str]:
    """Write a chart; its title by its file name."""
    with whole_file(path) as file:
        file.write(encode_png(figure))
    return {path.name: title}


def _read_both(commit: str, name: str) -> Commits[list]:
    """The rows of a plot's file at the commit and here."""
    path = f"metrics/plots/{name}.json"
    return Commits(read_json_at(commit, path, []), _read_here(path, []))


def _read_here(path: str, instead: object) -> Any:
    return read_json(path) if Path(path).exists() else instead
