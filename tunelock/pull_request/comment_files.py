"""The comment on a pull request as files: comment.md and its charts."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tunelock.pull_request.comment import compose_comment
from tunelock.pull_request.commit_charts import Commits, draw_commit_losses, draw_commit_tasks
from tunelock.pull_request.facts import Facts
from tunelock.pull_request.gate import check_gate, note_changed_rules
from tunelock.pull_request.two_commits import TwoCommits
from tunelock.report.images import encode_png
from tunelock.run.files import read_json, whole_file, write_text
from tunelock.run.revisions import name_this_commit, read_json_at, run_dvc_json

CLAIMS = "metrics/claims.json"


def write_comment(found: TwoCommits, out: Path, charts_at: str | None) -> dict[str, str]:
    """Write comment.md and the charts into the folder `out`; the charts' titles by file name.

    `charts_at` is a link to the charts, where they are to be linked and not shown.
    """
    charts = _write_charts(found, out)
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
        gate=check_gate(found.rules, found.metrics, found.rows.comparisons, found.level),
        gate_note=note_changed_rules(found.rules, found.commit),
        charts=charts,
        charts_at=charts_at,
    )
    write_text(out / "comment.md", compose_comment(facts))
    return charts


def _write_charts(found: TwoCommits, out: Path) -> dict[str, str]:
    """Write the charts that either commit has rows for; title by file name."""
    names, titles = Commits(found.base, "here"), {}
    validation = _read_both(found.commit, "eval_loss")
    if any(validation):
        figure = draw_commit_losses(_read_both(found.commit, "train_loss"), validation, names)
        titles |= _write_chart(figure, out / "loss.png", "Loss by step")
    for split in ("test", "golden"):
        rows = _read_both(found.commit, f"tasks_{split}")
        if any(rows):
            figure = draw_commit_tasks(rows, names, split)
            titles |= _write_chart(figure, out / f"{split}.png", f"Perplexity on {split} by task")
    return titles


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
